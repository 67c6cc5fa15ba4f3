//! Filters made by `iptables-legacy`, which nf_tables knows nothing of. What their rules are is not asked.

use std::fs;
use std::path::Path;

use super::{Effect, Obstacle};

/// Those that do not see our packets.
pub(super) fn not_asked() -> Vec<Obstacle> {
    named_in(Path::new("/proc/thread-self/net"))
}

fn named_in(folder: &Path) -> Vec<Obstacle> {
    let families = [("ip_tables_names", "iptables-legacy"), ("ip6_tables_names", "ip6tables-legacy")];
    let has_filter = |(file, _): &(&str, &str)| {
        let tables = fs::read_to_string(folder.join(file));
        tables.is_ok_and(|tables| tables.lines().any(|table| table == "filter"))
    };
    let say = |(_, program): (&str, &str)| {
        let what = format!("the host's {program} filter does not see polypath's packets");
        Obstacle::of_host(Effect::Note, what, format!("{program} -S"))
    };
    families.into_iter().filter(has_filter).map(say).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_found_where_the_kernel_lists_it() {
        let folder = std::env::temp_dir().join(format!("polypath-legacy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("ip_tables_names"), "nat\nmangle\n").unwrap();
        fs::write(folder.join("ip6_tables_names"), "nat\nfilter\n").unwrap();
        let found = named_in(&folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("ip6tables-legacy filter does not see"), "{found:?}");
    }
}
