//! Redis and PostgreSQL.

use super::{Entry, MPTCPIZE, Role};
use crate::act::Act;
use crate::packages::{Need, need};
use anyhow::{Context as _, ensure};
use std::fmt::Write as _;
use std::fs;

const REDIS: [Need; 3] =
    [need("redis-server", "redis-server"), need("redis-cli", "redis-tools"), need("redis-benchmark", "redis-tools")];
const POSTGRES: [Need; 3] =
    [need("postgres", "postgresql"), need("psql", "postgresql-client"), need("pgbench", "postgresql")];
/// Bytes of a value of redis-benchmark.
const VALUE: u64 = 16_000;
/// pgbench's clients, and the transactions of each.
const CLIENTS: u64 = 8;
const TRANSACTIONS: u64 = 50;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "redis",
        program: "redis-benchmark, redis-cli",
        role: Role::Client,
        needs: &[REDIS[0], REDIS[1], REDIS[2], MPTCPIZE],
        version: &["redis-cli", "--version"],
        tried: "20 connections set and get values of 16 kB; a large value there and back",
        work: redis,
    },
    Entry {
        name: "redis-server",
        program: "redis-server",
        role: Role::Server,
        needs: &[REDIS[0], REDIS[1], REDIS[2], MPTCPIZE],
        version: &["redis-server", "--version"],
        tried: "redis-benchmark with 20 connections and values of 16 kB; a large value there and back",
        work: redis,
    },
    Entry {
        name: "pgbench",
        program: "pgbench, psql",
        role: Role::Client,
        needs: &[POSTGRES[0], POSTGRES[1], POSTGRES[2], MPTCPIZE],
        version: &["psql", "--version"],
        tried: "COPY of a table there and back; TPC-B with 8 clients, sums and rows checked",
        work: postgres,
    },
    Entry {
        name: "postgresql",
        program: "PostgreSQL server",
        role: Role::Server,
        needs: &[POSTGRES[0], POSTGRES[1], POSTGRES[2], MPTCPIZE],
        version: &["postgres", "--version"],
        tried: "COPY of a table there and back; TPC-B with 8 clients, sums and rows checked",
        work: postgres,
    },
];

fn redis(act: &Act<'_>) -> anyhow::Result<()> {
    act.write("redis.conf", "port 6379\nbind 0.0.0.0\nprotected-mode no\nsave \"\"\n")?;
    act.server("redis-server redis.conf", 6379)?;
    let there = format!("-h {} -p 6379", act.address());
    let requests = act.bytes() / VALUE;
    let said =
        act.client(&format!("redis-benchmark {there} -c 20 -d {VALUE} -n {requests} -r 100 -t set,get --csv"))?;
    ensure!(said.contains("\"SET\"") && said.contains("\"GET\""), "redis-benchmark said {said}");
    act.payload("large", act.little())?;
    act.client_with(&format!("redis-cli {there} -x set large"), Some("large"), "answer")?;
    ensure!(act.read("answer")?.trim() == "OK", "redis-cli said {}", act.read("answer")?);
    act.client_with(&format!("redis-cli {there} --raw get large"), None, "back")?;
    // redis-cli ends each answer with a line break.
    let mut back = fs::read(act.path("back"))?;
    ensure!(back.pop() == Some(b'\n'), "redis-cli's answer has no end");
    fs::write(act.path("back"), back)?;
    act.verify("back", act.little())?;
    let length = act.plain_client(&format!("redis-cli {there} strlen large"))?;
    ensure!(length.trim() == act.little().to_string(), "STRLEN is {length}");
    Ok(())
}

fn postgres(act: &Act<'_>) -> anyhow::Result<()> {
    let folder = act.path("postgres");
    let folder = folder.display().to_string();
    // It refuses to work for root.
    let user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
    act.aside(&["install", "-d", "-o", "postgres", "-g", "postgres", "postgres"])?;
    let data = format!("{folder}/data");
    let initdb = crate::packages::find("initdb").context("initdb is missing (Debian: postgresql)")?;
    let initdb = initdb.to_string_lossy();
    let cluster = [initdb.as_ref(), "-D", &data, "-U", "zoo", "-A", "trust", "--no-sync", "--locale=C"];
    act.aside(&[&user[..], &cluster[..]].concat())?;
    let access = format!("{}host all all all trust\n", act.read("postgres/data/pg_hba.conf")?);
    act.write("postgres/data/pg_hba.conf", &access)?;
    let postgres = crate::packages::find("postgres").context("postgres is missing (Debian: postgresql)")?;
    let options = format!("-D {data} -k {folder} -h 0.0.0.0 -p 5432 -c fsync=off");
    act.server(&format!("{} {} {options}", user.join(" "), postgres.display()), 5432)?;

    let there = format!("-h {} -p 5432 -U zoo", act.address());
    copy(act, &there)?;
    act.client(&format!("pgbench {there} -i -q postgres"))?;
    act.client(&format!("pgbench {there} -c {CLIENTS} -j 2 -t {TRANSACTIONS} postgres"))?;
    act.write(
        "sums.sql",
        "select count(*), sum(delta) = (select sum(abalance) from pgbench_accounts),\n\
         sum(delta) = (select sum(tbalance) from pgbench_tellers) from pgbench_history;\n",
    )?;
    let sums = act.plain_client(&format!("psql {there} -X -At -f sums.sql postgres"))?;
    ensure!(sums.trim() == format!("{}|t|t", CLIENTS * TRANSACTIONS), "the sums are {sums}");
    Ok(())
}

/// A table there, and back.
fn copy(act: &Act<'_>, there: &str) -> anyhow::Result<()> {
    let mut rows = String::new();
    // Digests of numbers: nothing that repeats.
    let line = |n: u64| format!("{n}\t{}", Act::digest(n % 1000).repeat(4));
    let mut n = 0;
    while (rows.len() as u64) < act.bytes() {
        let _ = writeln!(rows, "{}", line(n));
        n += 1;
    }
    act.write("rows", &rows)?;
    act.write(
        "copy.sql",
        "create table rows (n bigint primary key, line text);\n\\copy rows from 'rows'\n\
         \\copy (select * from rows order by n) to 'back'\n",
    )?;
    act.client(&format!("psql {there} -X -q -v ON_ERROR_STOP=1 -f copy.sql postgres"))?;
    ensure!(act.read("back")? == rows, "other rows came back");
    Ok(())
}
