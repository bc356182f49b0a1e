//! Filter banks that are kept: calls begin and end all the time, their rates are always the same few.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use super::design::{FilterBank, Quality, factors};
use crate::Error;

/// Most filter banks that are kept. The rates in use (8, 11.025, 12, 16, 22.05, 24, 32, 44.1, 48,
/// 88.2 and 96 kHz) to 16, 24 and 48 kHz are 21 banks for each quality.
const KEPT_BANKS: usize = 64;
/// Most bytes of filter banks that are kept. Those 42 have 6 MB; an outside caller, who chooses the
/// rates, can ask for banks of 60 MB.
const KEPT_BYTES: usize = 32 << 20;

/// Key of a filter bank: upsampling factor, downsampling factor, quality.
type Key = (u32, u32, Quality);

/// Returns the bank for a pair of rates, from the cache of the process.
///
/// # Errors
/// [`Error::Ratio`] if the pair needs too many filter phases.
pub(super) fn shared_bank(
    in_rate: u32,
    out_rate: u32,
    quality: Quality,
) -> Result<Arc<FilterBank>, Error> {
    static BANKS: LazyLock<BankCache> = LazyLock::new(BankCache::default);
    let (up, down) = factors(in_rate, out_rate)?;
    Ok(BANKS.get((up, down, quality), || {
        FilterBank::design(up, down, quality)
    }))
}

/// A bounded store of filter banks, shared by all threads.
///
/// The lock is held to look up, to insert and to evict, never while a bank is designed: threads that
/// ask for different pairs of rates do not wait for each other, those that ask for the same new pair
/// wait for one design.
#[derive(Default)]
struct BankCache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    /// Requests so far, by which entries tell which of them was asked for last.
    requests: u64,
}

struct Entry {
    /// Empty while the bank is designed.
    bank: Arc<OnceLock<Arc<FilterBank>>>,
    last_request: u64,
}

impl BankCache {
    /// Returns the bank that is kept for `key`, or designs it.
    fn get(&self, key: Key, design: impl FnOnce() -> FilterBank) -> Arc<FilterBank> {
        let (bank, evicted) = self.lock().request(key);
        drop(evicted);
        let mut designed = false;
        let bank = Arc::clone(bank.get_or_init(|| {
            designed = true;
            Arc::new(design())
        }));
        if designed {
            // Its size is known only now. The lock is released before the memory is.
            let evicted = self.lock().evict();
            drop(evicted);
        }
        bank
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No entry is ever half made, so what a thread that panicked has left is still valid.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Notes a request; returns the place of the bank, and what had to go for a new one.
    fn request(&mut self, key: Key) -> (Arc<OnceLock<Arc<FilterBank>>>, Vec<Entry>) {
        self.requests += 1;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            bank: Arc::default(),
            last_request: 0,
        });
        entry.last_request = self.requests;
        (Arc::clone(&entry.bank), self.evict())
    }

    /// Removes entries until the rest is within both bounds: those that nobody uses first, and of
    /// these the ones that were asked for longest ago.
    ///
    /// A bank in use that is removed lives on with its users, who share it with nobody new.
    fn evict(&mut self) -> Vec<Entry> {
        let mut evicted = Vec::new();
        while self.entries.len() > KEPT_BANKS || self.bytes() > KEPT_BYTES {
            let order = |(_, entry): &(&Key, &Entry)| (entry.is_used(), entry.last_request);
            let Some((&key, _)) = self.entries.iter().min_by_key(order) else {
                break;
            };
            evicted.extend(self.entries.remove(&key));
        }
        evicted
    }

    fn bytes(&self) -> usize {
        self.entries.values().map(Entry::bytes).sum()
    }
}

impl Entry {
    fn is_used(&self) -> bool {
        match self.bank.get() {
            Some(bank) => Arc::strong_count(bank) > 1,
            None => Arc::strong_count(&self.bank) > 1,
        }
    }

    fn bytes(&self) -> usize {
        self.bank.get().map_or(0, |bank| bank.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MIB: usize = 1 << 20;

    fn key(number: u32) -> Key {
        (number, 1, Quality::Voice)
    }

    /// Asks for a bank that is as large as stated.
    fn get(cache: &BankCache, number: u32, bytes: usize) -> Arc<FilterBank> {
        cache.get(key(number), || FilterBank::of_size(bytes))
    }

    fn is_kept(cache: &BankCache, number: u32) -> bool {
        cache.lock().entries.contains_key(&key(number))
    }

    fn check_bounds(cache: &BankCache) {
        let kept = cache.lock();
        assert!(kept.entries.len() <= KEPT_BANKS, "{}", kept.entries.len());
        assert!(kept.bytes() <= KEPT_BYTES, "{}", kept.bytes());
    }

    #[test]
    fn banks_are_shared_by_ratio_and_quality() {
        let bank = |i, o, quality| shared_bank(i, o, quality).unwrap();
        let voice = bank(48_000, 16_000, Quality::Voice);
        assert!(Arc::ptr_eq(&voice, &bank(24_000, 8_000, Quality::Voice)));
        assert!(!Arc::ptr_eq(&voice, &bank(48_000, 16_000, Quality::Music)));
    }

    #[test]
    fn a_bank_in_use_is_shared_after_any_number_of_other_pairs() {
        let used = shared_bank(16_000, 8_000, Quality::Voice).unwrap();
        // 62 pairs of up to 5 MB: several times what is kept.
        for rate in (8_008..8_500).step_by(8) {
            drop(shared_bank(8_000, rate, Quality::Voice));
        }
        let again = shared_bank(16_000, 8_000, Quality::Voice).unwrap();
        assert!(Arc::ptr_eq(&used, &again));
    }

    #[test]
    fn a_design_in_progress_holds_up_no_other_pair() {
        let cache = BankCache::default();
        let old = get(&cache, 1, 1024);
        let bank = cache.get(key(2), || {
            // Also says so where the lookups below would wait for ever.
            assert!(cache.kept.try_lock().is_ok(), "designed under the lock");
            assert!(Arc::ptr_eq(&old, &get(&cache, 1, 1024)));
            assert_eq!(get(&cache, 3, 2048).bytes(), 2048);
            FilterBank::of_size(4096)
        });
        assert_eq!(bank.bytes(), 4096);
        assert!(Arc::ptr_eq(&bank, &get(&cache, 2, 4096)));
    }

    #[test]
    fn threads_that_ask_for_one_pair_at_once_share_one_design() {
        let (cache, designs) = (BankCache::default(), AtomicUsize::new(0));
        let all_here = Barrier::new(8);
        let banks: Vec<_> = std::thread::scope(|scope| {
            let ask = || {
                all_here.wait();
                cache.get(key(1), || {
                    designs.fetch_add(1, Ordering::Relaxed);
                    FilterBank::of_size(MIB)
                })
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(designs.into_inner(), 1);
        assert!(banks.iter().all(|bank| Arc::ptr_eq(bank, &banks[0])));
    }

    #[test]
    fn hundreds_of_pairs_are_a_bounded_number() {
        let cache = BankCache::default();
        for number in 0..500 {
            get(&cache, number, 64);
            check_bounds(&cache);
        }
        assert_eq!(cache.lock().entries.len(), KEPT_BANKS);
        // In use, all of them.
        let used: Vec<_> = (0..500).map(|number| get(&cache, number, 64)).collect();
        check_bounds(&cache);
        assert!(is_kept(&cache, 499) && !is_kept(&cache, 0));
        assert_eq!(used.iter().filter(|bank| bank.bytes() == 64).count(), 500);
    }

    #[test]
    fn large_banks_are_a_bounded_number_of_bytes() {
        let cache = BankCache::default();
        for number in 0..100 {
            get(&cache, number, MIB);
            check_bounds(&cache);
        }
        assert_eq!(cache.lock().bytes(), KEPT_BYTES);
        // One that exceeds the bound alone is its user's, and is not kept at all.
        let large = get(&cache, 100, KEPT_BYTES + 64);
        assert_eq!(large.bytes(), KEPT_BYTES + 64);
        assert!(!is_kept(&cache, 100));
        check_bounds(&cache);
    }

    #[test]
    fn what_nobody_uses_goes_first_and_of_that_the_oldest_request() {
        let cache = BankCache::default();
        let used = get(&cache, 0, MIB);
        for number in 1..32 {
            get(&cache, number, MIB);
        }
        get(&cache, 1, MIB); // asked for again
        get(&cache, 32, MIB);
        get(&cache, 33, MIB);
        let kept = [0, 1, 2, 3, 4, 33].map(|number| is_kept(&cache, number));
        assert_eq!(kept, [true, true, false, false, true, true]);
        assert!(Arc::ptr_eq(&used, &get(&cache, 0, MIB)));
    }

    #[test]
    fn a_design_that_panics_is_tried_again() {
        let cache = BankCache::default();
        let failed = catch_unwind(AssertUnwindSafe(|| {
            cache.get(key(1), || panic!("no memory"));
        }));
        assert!(failed.is_err());
        assert_eq!(get(&cache, 1, 64).bytes(), 64);
    }
}
