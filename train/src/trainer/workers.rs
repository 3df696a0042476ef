//! The threads that do the work.
//!
//! Each worker is a pool of one rayon thread: libraries below that would spread one matrix
//! product over all cores stay on the worker's core, and the parallelism is ours, over pictures.
//! Jobs are handed out as workers become free, results come back in job order: the outcome does
//! not depend on the number of workers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::denormals::flush_to_zero;

/// A fixed number of worker threads.
pub struct Workers {
    pools: Vec<rayon::ThreadPool>,
}

impl Workers {
    /// `threads` workers, at least one.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = |i: usize| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(move |_| format!("train-{i}"))
                .start_handler(|_| flush_to_zero())
                .build()
        };
        Ok(Self { pools: (0..threads.max(1)).map(pool).collect::<Result<_, _>>()? })
    }

    /// Number of workers.
    pub fn count(&self) -> usize {
        self.pools.len()
    }

    /// Runs `work(0..jobs)` and returns the results in job order.
    pub fn map<T: Send>(&self, jobs: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(jobs));
        let run = || {
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= jobs {
                    return;
                }
                let result = work(job);
                results.lock().unwrap_or_else(PoisonError::into_inner).push((job, result));
            }
        };
        std::thread::scope(|scope| {
            for pool in &self.pools[1..] {
                scope.spawn(|| pool.install(run));
            }
            self.pools[0].install(run);
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(job, _)| *job);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_job_order_whatever_the_number_of_workers() {
        for threads in [1, 2, 5] {
            let workers = Workers::new(threads).unwrap();
            let squares = workers.map(100, |i| i * i);
            assert_eq!(squares, (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
        assert!(Workers::new(2).unwrap().map(0, |i| i).is_empty());
    }

    #[test]
    fn libraries_below_see_one_thread() {
        let seen = Workers::new(3).unwrap().map(6, |_| rayon::current_num_threads());
        assert_eq!(seen, vec![1; 6]);
    }
}
