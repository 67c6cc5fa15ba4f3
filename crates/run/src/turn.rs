//! Whose turn it is to receive calls: one thread's, until a program holds it up.
//!
//! Reading a program's memory may take as long as the program likes: behind the page may be a file system of its own, or
//! its own handler of page faults (userfaultfd). So whoever answers calls is watched. If a call takes too long, another
//! thread takes over, and the first ends when it comes back.

use std::time::{Duration, Instant};

use crate::identity::parking::Mutex;

/// What is longer is not our own work.
const PATIENCE: Duration = Duration::from_millis(100);
/// More threads than this are not given to programs that misbehave, at any one time.
const STUCK_MAX: u32 = 256;

#[derive(Debug)]
pub(crate) struct Turn(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The thread that receives calls, counted from 0.
    current: u32,
    /// When it went to receive the call that it handles.
    since: Option<Instant>,
    /// Threads that have lost their turn and not come back.
    stuck: u32,
}

impl Turn {
    pub(crate) fn new() -> Turn {
        Turn(Mutex::new(State { current: 0, since: None, stuck: 0 }))
    }

    /// There is a call, which `thread` may receive and handle, if it is still its turn.
    pub(crate) fn begin(&self, thread: u32) -> bool {
        let mut state = self.0.lock();
        let has_turn = state.current == thread;
        if has_turn {
            state.since = Some(Instant::now());
        } else {
            state.stuck = state.stuck.saturating_sub(1);
        }
        has_turn
    }

    /// It has. Whether it is still its turn.
    pub(crate) fn end(&self, thread: u32) -> bool {
        let mut state = self.0.lock();
        let has_turn = state.current == thread;
        if has_turn {
            state.since = None;
        } else {
            state.stuck = state.stuck.saturating_sub(1);
        }
        has_turn
    }

    /// A new thread takes the turn from the one before it, if that is still held up.
    pub(crate) fn take_over(&self, thread: u32) -> bool {
        let mut state = self.0.lock();
        let is_due = thread == 0 || state.current + 1 == thread && state.is_held_up();
        if is_due && thread > 0 {
            *state = State { current: thread, since: None, stuck: state.stuck + 1 };
        }
        is_due
    }

    /// Completes when another thread should take over; which.
    pub(crate) async fn passes(&self) -> u32 {
        let mut ticks = tokio::time::interval(PATIENCE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first is at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let state = self.0.lock();
            if state.is_held_up() && state.stuck < STUCK_MAX {
                return state.current + 1;
            }
        }
    }
}

impl State {
    fn is_held_up(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() > PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_up() -> Turn {
        let turn = Turn::new();
        assert!(turn.take_over(0) && turn.begin(0));
        // As if it had begun long ago.
        turn.0.lock().since = Instant::now().checked_sub(2 * PATIENCE);
        turn
    }

    #[test]
    fn a_thread_that_is_held_up_loses_its_turn_and_ends() {
        let turn = held_up();
        assert!(turn.take_over(1));
        assert!(turn.begin(1) && turn.end(1), "the new one goes on");
        assert!(!turn.end(0) && turn.end(1));
        assert_eq!(turn.0.lock().stuck, 0, "it does not count for ever");
    }

    #[test]
    fn one_that_came_back_in_time_keeps_it() {
        let turn = held_up();
        assert!(turn.end(0));
        assert!(!turn.take_over(1), "too late");
        assert!(turn.begin(0));
        assert!(!turn.take_over(2), "out of turn");
    }
}
