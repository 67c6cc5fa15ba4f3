use polypath_lab::{Owner, PathSpec, Scenario, link::Rate};
use std::time::Duration;
fn main() -> anyhow::Result<()> {
    for (rate, rtt) in [(50, 20), (20, 60), (1000, 2)] {
        let path = PathSpec::new(
            "link",
            Rate::mbit(rate),
            Duration::from_millis(rtt),
            Duration::from_millis(200),
        );
        let s = Scenario::builder()
            .client(Owner::Kernel)
            .path(path)
            .build()?;
        for _ in 0..2 {
            let o = s
                .client()
                .command("ping")
                .args(["-i", "0.01", "-c", "300", "-q", "10.9.0.1"])
                .output()?;
            println!(
                "{rate} {rtt}: {} {:?}",
                String::from_utf8_lossy(&o.stdout)
                    .lines()
                    .last()
                    .unwrap_or(""),
                s.lateness()
            );
        }
    }
    Ok(())
}
