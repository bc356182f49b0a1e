//! Converts a WAV file to another rate, mono, 16 bit.
//!
//! ```text
//! cargo run --release -p voice-audio --example resample_wav -- in.wav out.wav 16000 [music]
//! ```
//!
//! Takes 16-bit integers and 32-bit floats, mono and stereo. The result lasts exactly as long as
//! the input: the delay of the filter is taken off its beginning.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use voice_audio::pcm::Sample;
use voice_audio::{Quality, Resampler, ResamplerOptions};

/// Number of frames of samples converted at once: a file need not fit into memory.
const BLOCK: usize = 4_096;

fn convert<S: Sample + hound::Sample>(
    reader: WavReader<impl std::io::Read>,
    mut resampler: Resampler,
    path: &str,
) -> Result<usize, Box<dyn Error>> {
    let channels = reader.spec().channels;
    let mut writer = WavWriter::create(
        path,
        WavSpec {
            channels: 1,
            sample_rate: resampler.out_rate(),
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        },
    )?;
    let mut skip = resampler.delay();
    let mut written = 0;
    let mut write = |out: &mut Vec<i16>| -> Result<(), Box<dyn Error>> {
        let head = skip.min(out.len());
        skip -= head;
        for sample in out.drain(..).skip(head) {
            writer.write_sample(sample)?;
            written += 1;
        }
        Ok(())
    };
    let mut samples = reader.into_samples::<S>();
    let mut out: Vec<i16> = Vec::new();
    loop {
        let block: Vec<S> = samples
            .by_ref()
            .take(BLOCK * usize::from(channels))
            .collect::<Result<_, _>>()?;
        if block.is_empty() {
            break;
        }
        match channels {
            1 => resampler.push(&block, &mut out),
            2 => resampler.push_interleaved(&block, &mut out)?,
            n => return Err(format!("{n} channels are not supported: give mono or stereo").into()),
        }
        write(&mut out)?;
    }
    resampler.flush(&mut out);
    write(&mut out)?;
    writer.finalize()?;
    Ok(written)
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (input, output, rate, quality) = match arguments {
        [input, output, rate] => (input, output, rate, Quality::Voice),
        [input, output, rate, quality] if quality == "music" => {
            (input, output, rate, Quality::Music)
        }
        _ => return Err("usage: resample_wav IN.wav OUT.wav RATE [music]".into()),
    };
    let reader = WavReader::open(input)?;
    let spec = reader.spec();
    let options = ResamplerOptions::default().with_quality(quality);
    let resampler = Resampler::with_options(spec.sample_rate, rate.parse()?, options)?;
    println!("{resampler:?}");
    let written = match (spec.sample_format, spec.bits_per_sample) {
        (SampleFormat::Int, 16) => convert::<i16>(reader, resampler, output)?,
        (SampleFormat::Float, 32) => convert::<f32>(reader, resampler, output)?,
        (format, bits) => return Err(format!("{bits} bit {format:?} is not supported").into()),
    };
    println!("{output}: {written} samples");
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
