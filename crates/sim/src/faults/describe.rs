//! A scenario in words.

use std::fmt;

use super::scenario::{
    Access, At, ConnectionPlan, Ending, Flow, Happening, HostPlan, Scenario, Settings, Side, Trouble, Way,
};

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}{}", self.seed, if self.checksums { ", TCP checksums computed and verified" } else { "" })?;
        for (side, letter) in [(Side::Client, 'c'), (Side::Server, 's')] {
            host(f, side, letter, self.host(side))?;
        }
        for (index, plan) in self.connections.iter().enumerate() {
            connection(f, index, plan)?;
        }
        self.events.iter().try_for_each(|event| happening(f, event))
    }
}

fn host(f: &mut fmt::Formatter<'_>, side: Side, letter: char, host: &HostPlan) -> fmt::Result {
    let tick = if host.tick_us > 0 { format!(", timers late by up to {} us", host.tick_us) } else { String::new() };
    writeln!(f, "{side:?}: {}{tick}", changed(&host.settings))?;
    for (number, link) in host.links.iter().enumerate() {
        let Access { ipv6, backup, mtu, offload, coalesce_us, up, down, boxes } = link;
        let kind = if *ipv6 { "IPv6" } else { "IPv4" };
        write!(f, "  {letter}{number}: {kind}, MTU {mtu}")?;
        let marks = [(*backup, "backup"), (!*offload, "no offload"), (*coalesce_us > 0, "coalesces")];
        marks.iter().filter(|(is, _)| *is).try_for_each(|(_, mark)| write!(f, ", {mark}"))?;
        boxes.iter().try_for_each(|plan| write!(f, ", {plan:?}"))?;
        writeln!(f)?;
        writeln!(f, "    from it: {}", way(up))?;
        writeln!(f, "    to it:   {}", way(down))?;
    }
    Ok(())
}

/// What is not as by default.
fn changed(settings: &Settings) -> String {
    let scenario =
        Scenario { client: HostPlan { settings: settings.clone(), ..HostPlan::default() }, ..Scenario::default() };
    let value: serde_json::Value = serde_json::from_str(&scenario.to_line()).unwrap_or_default();
    let fields = value.pointer("/client/settings").and_then(serde_json::Value::as_object);
    let fields = fields.into_iter().flatten().map(|(name, value)| format!("{name} {value}"));
    let text = fields.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "all settings as by default".to_owned() } else { text.replace('"', "") }
}

fn way(way: &Way) -> String {
    let Way { kbit, delay_us, queue, loss, duplicate, reorder, reorder_us, jitter_us, corrupt, mark } = *way;
    let mut text = format!("{kbit} kbit/s, {} ms, queue {queue} bytes", delay_us as f64 / 1e3);
    for (part, name) in [(loss, "lost"), (duplicate, "twice"), (corrupt, "with a changed bit"), (mark, "marked")] {
        if part > 0 {
            text += &format!(", {} % {name}", f64::from(part) / 10.0);
        }
    }
    if reorder > 0 {
        text += &format!(", {} % up to {} ms late", f64::from(reorder) / 10.0, reorder_us as f64 / 1e3);
    }
    if jitter_us > 0 {
        text += &format!(", jitter {} ms", jitter_us as f64 / 1e3);
    }
    text
}

fn connection(f: &mut fmt::Formatter<'_>, index: usize, plan: &ConnectionPlan) -> fmt::Result {
    let ConnectionPlan { start_ms, from, to, plain, up, down, ending, quit } = plan;
    let plain = if *plain { ", plain TCP" } else { "" };
    writeln!(f, "Connection {index}: c{from} to s{to} at {start_ms} ms{plain}")?;
    for (name, plan) in [("up", up), ("down", down)] {
        if plan.bytes > 0 {
            writeln!(f, "  {name}: {}", flow(plan))?;
        }
    }
    let ending = match ending {
        Ending::BothAtOnce => "each end shuts down after its last byte",
        Ending::ClientLast => "the client shuts down after the server",
        Ending::ServerLast => "the server shuts down after the client",
        Ending::ClientLeaves => "the client closes after its last byte",
        Ending::ServerLeaves => "the server closes after its last byte",
    };
    writeln!(f, "  {ending}")?;
    match quit {
        Some(quit) => {
            let how = if quit.reset { "aborts" } else { "closes" };
            writeln!(f, "  {:?} {how} after {} bytes", quit.side, quit.after)
        }
        None => Ok(()),
    }
}

fn flow(plan: &Flow) -> String {
    let Flow { bytes, write, write_pause_after, write_pause_ms, read, read_pause_after, read_pause_ms, .. } = *plan;
    let mut text =
        format!("{bytes} bytes, written {} to {} at a time, read {} to {}", write.0, write.1, read.0, read.1);
    for (who, after, ms) in [("writer", write_pause_after, write_pause_ms), ("reader", read_pause_after, read_pause_ms)]
    {
        if after > 0 {
            text += &format!(", the {who} rests {ms} ms each {after} bytes");
        }
    }
    text
}

fn happening(f: &mut fmt::Formatter<'_>, event: &Happening) -> fmt::Result {
    let letter = if event.side == Side::Client { 'c' } else { 's' };
    match event.at {
        At::Ms(ms) => write!(f, "After {ms} ms, ")?,
        At::Bytes(bytes) => write!(f, "After {bytes} bytes received, ")?,
    }
    write!(f, "{letter}{} ", event.link)?;
    match event.what {
        Trouble::Cut(0) => writeln!(f, "is cut for good"),
        Trouble::Cut(ms) => writeln!(f, "is cut for {ms} ms"),
        Trouble::Flap { down, up, times } => writeln!(f, "goes down for {down} ms and up for {up} ms, {times} times"),
        Trouble::Lossy { up, down, loss, ms } => {
            let ways = match (up, down) {
                (true, false) => "from it",
                (false, true) => "to it",
                _ => "both ways",
            };
            writeln!(f, "loses {} % {ways} for {ms} ms", f64::from(loss) / 10.0)
        }
        Trouble::Rate(kbit) => writeln!(f, "gets {kbit} kbit/s"),
        Trouble::Delay(us) => writeln!(f, "gets a delay of {} ms", us as f64 / 1e3),
        Trouble::Leave(0) => writeln!(f, "loses its address for good"),
        Trouble::Leave(ms) => writeln!(f, "loses its address for {ms} ms"),
        Trouble::Backup(backup) => writeln!(f, "{}", if backup { "becomes a backup" } else { "is no backup any more" }),
    }
}
