//! Runs an experiment with many seeds on all cores and says how to repeat the one that fails.

use std::any::Any;
use std::fmt::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Which seeds to run, and whether to go on after a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seeds {
    /// The seeds.
    pub range: Range<u64>,
    /// Run all of them and list every failure, not only the first.
    pub keep_going: bool,
}

/// A seed that failed, and how.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Failure {
    seed: u64,
    error: String,
}

impl Seeds {
    /// What the environment asks for: `POLYPATH_SEED=N` only that seed, `POLYPATH_SEEDS=N` the first so many,
    /// `POLYPATH_SEEDS=M..N` those, otherwise `default`; with `POLYPATH_KEEP_GOING=1` all of them in any case.
    ///
    /// # Panics
    /// A variable does not hold such a number.
    pub fn from_env(default: Range<u64>) -> Self {
        let number = |name: &str, text: &str| -> u64 {
            text.parse().unwrap_or_else(|error| panic!("{name} is not a number: {text:?}: {error}"))
        };
        let one = std::env::var("POLYPATH_SEED").map(|text| number("POLYPATH_SEED", &text));
        let several = std::env::var("POLYPATH_SEEDS").map(|text| match text.split_once("..") {
            Some((from, to)) => number("POLYPATH_SEEDS", from)..number("POLYPATH_SEEDS", to),
            None => 0..number("POLYPATH_SEEDS", &text),
        });
        let range = one.map(|seed| seed..seed + 1).or(several).unwrap_or(default);
        Self { range, keep_going: std::env::var("POLYPATH_KEEP_GOING").is_ok_and(|value| value != "0") }
    }

    /// Runs `experiment` once for each seed, on all cores.
    ///
    /// `repeat` is the command line that runs one seed; `{seed}` in it stands for the number.
    ///
    /// # Panics
    /// An experiment failed or panicked. The message says which seed, how, and the command line that repeats it.
    pub fn run(&self, repeat: &str, experiment: impl Fn(u64) -> Result<(), String> + Sync) {
        let failures = self.failures(experiment);
        let Some(first) = failures.first() else {
            return;
        };
        let mut message = String::new();
        if self.keep_going {
            for failure in &failures {
                let line = failure.error.lines().next().unwrap_or_default();
                let _ = writeln!(message, "seed {}: {line}", failure.seed);
            }
            let _ = writeln!(message, "{} of {} seeds failed\n", failures.len(), self.range.clone().count());
        }
        let repeat = repeat.replace("{seed}", &first.seed.to_string());
        panic!("{message}seed {} failed: {}\n\nto repeat it:\n    {repeat}\n", first.seed, first.error);
    }

    /// What failed, by seed.
    fn failures(&self, experiment: impl Fn(u64) -> Result<(), String> + Sync) -> Vec<Failure> {
        let next = AtomicU64::new(self.range.start);
        let stop = AtomicBool::new(false);
        let failures = Mutex::new(Vec::new());
        let worker = || {
            while !stop.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.range.end {
                    return;
                }
                // The experiment begins from nothing each time: no state of a run that panicked is seen again.
                let result = catch_unwind(AssertUnwindSafe(|| experiment(seed)))
                    .unwrap_or_else(|panic| Err(format!("panic: {}", message_of(&*panic))));
                if let Err(error) = result {
                    stop.store(!self.keep_going, Ordering::Relaxed);
                    failures.lock().expect("no worker panics with the lock").push(Failure { seed, error });
                }
            }
        };
        on_cores(cores(), self.range.clone().count(), worker);
        let mut failures = failures.into_inner().expect("no worker panics with the lock");
        failures.sort();
        failures
    }
}

/// Processors that may be used.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs as many of these at the same time as there are `cores`, but at most `most`.
fn on_cores(cores: usize, most: usize, worker: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..cores.min(most) {
            scope.spawn(&worker);
        }
    });
}

/// Does pieces of work on all cores, by their numbers from 0: the results in that order. A panic is an error.
pub(crate) fn in_parallel<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    in_parallel_on(cores(), count, work)
}

/// The same on so many cores.
pub(crate) fn in_parallel_on<T: Send>(
    cores: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(count));
    on_cores(cores, count, || {
        while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count) {
            let result = catch_unwind(AssertUnwindSafe(|| work(number)))
                .unwrap_or_else(|panic| Err(format!("panic: {}", message_of(&*panic))));
            results.lock().expect("no worker panics with the lock").push((number, result));
        }
    });
    let mut results = results.into_inner().expect("no worker panics with the lock");
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

pub(crate) fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails_at_seven(seed: u64) -> Result<(), String> {
        if seed == 7 { Err("seven".to_owned()) } else { Ok(()) }
    }

    #[test]
    fn the_failure_names_the_seed_and_the_command_that_repeats_it() {
        let seeds = Seeds { range: 0..20, keep_going: false };
        let panic = catch_unwind(|| seeds.run("cargo test --seed {seed}", fails_at_seven)).unwrap_err();
        let message = message_of(&*panic);
        assert!(message.contains("seed 7 failed: seven") && message.contains("cargo test --seed 7"), "{message}");
    }

    #[test]
    fn every_seed_runs_once_if_none_fails() {
        let sum = AtomicU64::new(0);
        Seeds { range: 10..110, keep_going: false }.run("", |seed| {
            sum.fetch_add(seed, Ordering::Relaxed);
            Ok(())
        });
        assert_eq!(sum.into_inner(), (10..110).sum::<u64>());
    }

    #[test]
    fn results_of_parallel_work_are_in_order() {
        let results = in_parallel(50, |number| if number == 7 { panic!("seven") } else { Ok(number * 2) });
        for (number, result) in results.into_iter().enumerate() {
            let expected = if number == 7 { Err("panic: seven".to_owned()) } else { Ok(number * 2) };
            assert_eq!(result, expected);
        }
    }

    #[test]
    fn a_panic_counts_as_a_failure_and_the_others_go_on_if_asked_to() {
        let seeds = Seeds { range: 0..20, keep_going: true };
        let failures = seeds.failures(|seed| if seed == 3 { panic!("three") } else { fails_at_seven(seed) });
        let found: Vec<_> = failures.iter().map(|failure| (failure.seed, failure.error.as_str())).collect();
        assert_eq!(found, [(3, "panic: three"), (7, "seven")]);
    }
}
