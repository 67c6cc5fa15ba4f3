//! How true the emulated links are: pings, TCP and losses against the ideal.
//!
//! `cargo run --release -p polypath-lab --example physics`

use std::time::Duration;

use polypath_lab::link::Rate;
use polypath_lab::{PathSpec, physics};

fn main() -> anyhow::Result<()> {
    let ms = Duration::from_millis;
    for (mbit, rtt) in [(50, 20), (20, 60), (200, 10), (1000, 2)] {
        let path = PathSpec::new("link", Rate::mbit(mbit), ms(rtt), ms(200));
        let clean = physics::scenario([path.clone()])?;
        let errors = physics::ping_errors(&clean, 0, 200)?;
        let share = physics::tcp_share(&clean, 0, Duration::from_secs(4))?;
        let late = clean.lateness();
        let lossy = physics::scenario([path.with_loss(0.01)])?;
        let sigma = physics::loss_sigma(&lossy, 0, Duration::from_secs(2))?;
        println!(
            "{mbit} Mbit/s, {rtt} ms: a ping is {:.3} ms too slow (median; worst {:.3}), TCP reaches {:.2} %, losses are \
             {sigma:.1} sigma off; packets are {:?} late (worst {:?})",
            errors[errors.len() / 2],
            errors[errors.len() - 1],
            100.0 * share,
            late.mean,
            late.max,
        );
    }
    Ok(())
}
