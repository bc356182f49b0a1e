//! A gateway: 44.1 kHz stereo as little-endian 16-bit PCM on its standard input, 16 kHz mono as a
//! line of base64 for each 20 ms on its standard output.

use std::error::Error;
use std::io::{Read, Write, stdin, stdout};

use voice_audio::{Resampler, base64, pcm};

fn main() -> Result<(), Box<dyn Error>> {
    let mut resampler = Resampler::new(44_100, 16_000)?;
    let (mut input, mut output) = (stdin().lock(), stdout().lock());
    let mut bytes = [0; 882 * 2 * 2];
    let (mut samples, mut wire, mut line) = (Vec::new(), Vec::<i16>::new(), Vec::new());
    while input.read_exact(&mut bytes).is_ok() {
        samples.clear();
        wire.clear();
        line.clear();
        pcm::from_bytes(&bytes, &mut samples)?;
        resampler.push_interleaved(&samples, &mut wire)?;
        base64::encode_pcm(&wire, &mut line);
        line.push(b'\n');
        output.write_all(&line)?;
    }
    Ok(())
}
