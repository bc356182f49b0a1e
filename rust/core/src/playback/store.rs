//! Queues of samples in pooled blocks: O(1) at both ends, nothing is ever moved.

use std::collections::VecDeque;

/// Samples of one block: 43 ms at 24 kHz, 2 kB.
const BLOCK: usize = 1024;
/// Blocks that stay in the pool when nothing is queued: 43 s at 24 kHz, 2 MB.
const KEPT: usize = 1024;

type Block = Box<[i16; BLOCK]>;

/// Blocks that wait to be used again.
///
/// Taking a block may allocate, giving one back never does: room for every block that is out is
/// reserved when it is taken.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Vec<Block>,
    out: usize,
}

impl Pool {
    fn take(&mut self) -> Block {
        self.out += 1;
        self.free.pop().unwrap_or_else(|| Box::new([0; BLOCK]))
    }

    fn give(&mut self, block: Block) {
        self.out -= 1;
        self.free.push(block);
    }

    /// Makes room for all blocks that are out, and lets go of blocks beyond need. To be called
    /// after a push, never on the way out.
    pub(super) fn reserve(&mut self) {
        if self.free.len() > KEPT.max(self.out) {
            self.free.truncate(KEPT.max(self.out));
        }
        self.free.reserve(self.out);
    }
}

/// The queued samples of one turn.
#[derive(Debug, Default)]
pub(super) struct Queue {
    blocks: VecDeque<Block>,
    /// Offset of the first sample in the first block, below `BLOCK`.
    start: usize,
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends samples, taking blocks from the pool.
    pub(super) fn push(&mut self, mut pcm: &[i16], pool: &mut Pool) {
        while !pcm.is_empty() {
            let end = self.start + self.len;
            if end == self.blocks.len() * BLOCK {
                self.blocks.push_back(pool.take());
            }
            let slot = &mut self.blocks[end / BLOCK][end % BLOCK..];
            let n = slot.len().min(pcm.len());
            slot[..n].copy_from_slice(&pcm[..n]);
            self.len += n;
            pcm = &pcm[n..];
        }
    }

    /// The next samples, as many as lie side by side; empty only if the queue is.
    pub(super) fn peek(&self) -> &[i16] {
        match self.blocks.front() {
            Some(block) => &block[self.start..BLOCK.min(self.start + self.len)],
            None => &[],
        }
    }

    /// Removes `n` of the samples that [`peek`](Self::peek) showed.
    pub(super) fn advance(&mut self, n: usize, pool: &mut Pool) {
        debug_assert!(n <= self.peek().len());
        self.start += n;
        self.len -= n;
        if self.start == BLOCK || self.len == 0 {
            self.start = 0;
            self.blocks
                .drain(..1.min(self.blocks.len()))
                .for_each(|b| pool.give(b));
        }
    }

    /// Keeps the first `keep` samples; returns how many were removed.
    pub(super) fn truncate(&mut self, keep: usize, pool: &mut Pool) -> usize {
        let removed = self.len.saturating_sub(keep);
        self.len -= removed;
        let blocks = match self.len {
            0 => 0,
            len => (self.start + len).div_ceil(BLOCK),
        };
        self.blocks.drain(blocks..).for_each(|b| pool.give(b));
        if self.len == 0 {
            self.start = 0;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_back_what_was_pushed_in_order() {
        let mut pool = Pool::default();
        let mut queue = Queue::default();
        let pcm: Vec<i16> = (0..5000).collect();
        let mut read = Vec::new();
        for (round, chunk) in pcm.chunks(333).enumerate() {
            queue.push(chunk, &mut pool);
            pool.reserve();
            for _ in 0..round % 3 {
                let n = queue.peek().len().min(170);
                read.extend_from_slice(&queue.peek()[..n]);
                queue.advance(n, &mut pool);
            }
        }
        while !queue.is_empty() {
            read.push(queue.peek()[0]);
            queue.advance(1, &mut pool);
        }
        assert_eq!(read, pcm);
        assert_eq!(pool.out, 0);
    }

    #[test]
    fn truncate_gives_the_blocks_back() {
        let mut pool = Pool::default();
        let mut queue = Queue::default();
        queue.push(&vec![5; 10 * BLOCK], &mut pool);
        queue.advance(100, &mut pool);
        assert_eq!(queue.truncate(1000, &mut pool), 10 * BLOCK - 1100);
        assert_eq!((queue.len(), pool.out), (1000, 2));
        assert_eq!(queue.truncate(5000, &mut pool), 0);
        assert_eq!(queue.truncate(0, &mut pool), 1000);
        assert_eq!((queue.len(), pool.out), (0, 0));
        assert!(queue.peek().is_empty());
    }

    #[test]
    fn the_pool_lets_go_of_blocks_beyond_need() {
        let mut pool = Pool::default();
        let mut queue = Queue::default();
        queue.push(&vec![1; 3 * KEPT * BLOCK], &mut pool);
        pool.reserve();
        queue.truncate(0, &mut pool);
        assert_eq!(pool.free.len(), 3 * KEPT);
        queue.push(&[1], &mut pool);
        pool.reserve();
        assert_eq!(pool.free.len(), KEPT);
    }
}
