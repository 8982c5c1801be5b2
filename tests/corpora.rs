//! What fuzzers have found worth keeping, as ordinary tests: nothing of it may panic. `tests/fuzz` looks for more.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use slabd::fuzzing;
use std::fs;
use std::path::Path;

fn run(target: &str, call: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        call(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "there is a corpus in {}", folder.display());
}

#[test]
fn text_lines() {
    run("text", fuzzing::text);
}

#[test]
fn meta_flags() {
    run("meta", fuzzing::meta);
}

#[test]
fn binary_packets() {
    run("packets", fuzzing::packets);
}

#[test]
fn datagrams() {
    run("datagram", fuzzing::datagram);
}

#[test]
fn files_of_users() {
    run("users", fuzzing::users);
}

#[test]
fn places_to_listen() {
    run("listen", fuzzing::listen);
}

#[test]
fn extended_options() {
    run("extended", fuzzing::extended);
}
