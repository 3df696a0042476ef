//! The threads that do the work.
//!
//! Each worker is a pool of one rayon thread: libraries below that would spread one matrix
//! product over all cores stay on the worker's core, and the parallelism is ours, over pictures.
//! Jobs are handed out as workers become free, results come back or are added up in job order: the
//! outcome does not depend on the number of workers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, PoisonError};

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

    /// Runs `work(0..jobs)` and hands each result to `add` in job order, as soon as it is its turn, on
    /// the calling thread. Results may be as large as a model, so few of them are there at once: at
    /// most [`Self::ahead`], under way or waiting.
    pub fn fold<T: Send>(
        &self,
        jobs: usize,
        work: impl Fn(usize) -> T + Sync,
        mut add: impl FnMut(T),
    ) {
        let (job, gate) = (AtomicUsize::new(0), Gate::default());
        let (send, receive) = std::sync::mpsc::channel();
        let run = |send: Sender<(usize, T)>| {
            let _opener = Opener(&gate);
            loop {
                let job = job.fetch_add(1, Ordering::Relaxed);
                if job >= jobs {
                    return;
                }
                gate.wait(job, self.ahead());
                // Nobody receives when `add` has panicked; that panic is the one to show.
                let _ = send.send((job, work(job)));
            }
        };
        std::thread::scope(|scope| {
            let (_opener, run) = (Opener(&gate), &run);
            for pool in &self.pools {
                let send = send.clone();
                scope.spawn(move || pool.install(|| run(send)));
            }
            drop(send);
            let (mut next, mut done) = (0, BTreeMap::new());
            for (job, result) in receive {
                done.insert(job, result);
                while let Some(result) = done.remove(&next) {
                    add(result);
                    next += 1;
                    gate.open(next);
                }
            }
        });
    }

    /// Results of [`Self::fold`] that are under way or waiting at most: one more for each worker,
    /// so that none stands still while another one's job takes a little longer.
    pub fn ahead(&self) -> usize {
        2 * self.count()
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

/// Keeps jobs from beginning too early.
#[derive(Default)]
struct Gate {
    /// The job whose result is next.
    next: Mutex<usize>,
    moved: Condvar,
}

impl Gate {
    /// Waits until `job` is less than `ahead` away. Jobs begin in order, so the next one never waits.
    fn wait(&self, job: usize, ahead: usize) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let is_far = |next: &mut usize| job.saturating_sub(*next) >= ahead;
        drop(self.moved.wait_while(next, is_far).unwrap_or_else(PoisonError::into_inner));
    }

    fn open(&self, next: usize) {
        // Never back: who has given up must not be overtaken by a result that still comes.
        let mut now = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *now = next.max(*now);
        drop(now);
        self.moved.notify_all();
    }
}

/// Opens the gate for good when its thread panics: what the others wait for will not come.
struct Opener<'a>(&'a Gate);

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.open(usize::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn results_are_added_in_job_order_and_few_of_them_wait() {
        for threads in [1, 2, 5] {
            let workers = Workers::new(threads).unwrap();
            let (alive, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let mut added = Vec::new();
            let work = |i: usize| {
                most.fetch_max(alive.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // The first one of every ten takes long: the others finish before it.
                std::thread::sleep(Duration::from_micros(if i.is_multiple_of(10) {
                    20_000
                } else {
                    10
                }));
                i * i
            };
            workers.fold(60, work, |square| {
                alive.fetch_sub(1, Ordering::SeqCst);
                added.push(square);
            });
            assert_eq!(added, (0..60).map(|i| i * i).collect::<Vec<_>>());
            let most = most.into_inner();
            assert!(most <= 2 * threads, "{most} at once with {threads} threads");
        }
    }

    #[test]
    fn a_job_that_panics_ends_the_others_instead_of_keeping_them_waiting() {
        let workers = Workers::new(2).unwrap();
        for (bad_work, bad_add) in [(0, 100), (100, 0)] {
            let work = |i: usize| {
                assert_ne!(i, bad_work, "this job fails");
                i
            };
            let add = |i: usize| assert_ne!(i, bad_add, "this result cannot be added");
            let run = std::panic::AssertUnwindSafe(|| workers.fold(50, work, add));
            assert!(std::panic::catch_unwind(run).is_err());
        }
    }

    #[test]
    fn libraries_below_see_one_thread() {
        let seen = Workers::new(3).unwrap().map(6, |_| rayon::current_num_threads());
        assert_eq!(seen, vec![1; 6]);
    }
}
