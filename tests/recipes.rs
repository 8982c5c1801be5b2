//! The recipes of the README, as they are written: each block of commands runs in a shell against a fresh daemon and must print what
//! stands below it.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::server::Server;
use std::process::Command;

/// How many recipes there are, so that none is left out.
const COUNT: usize = 7;

/// CAS numbers are others each time; a carriage return is not seen.
fn as_seen(text: &str) -> String {
    let mut seen = String::new();
    for line in text.lines() {
        let words = line.trim_end_matches('\r').split(' ').map(|word| match word.strip_prefix('c') {
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => "c#",
            _ => word,
        });
        seen.push_str(&words.collect::<Vec<_>>().join(" "));
        seen.push('\n');
    }
    seen
}

/// What a shell prints, and says of errors.
fn shell(script: &str) -> (String, String) {
    let output = Command::new("sh").arg("-c").arg(script).output().expect("there is a shell");
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_recipe_prints_what_stands_below_it() {
    if !shell("nc -h 2>&1").0.contains("OpenBSD") {
        assert!(
            std::env::var_os("SLABD_REQUIRE_ORACLE").is_none_or(|value| value == "0"),
            "SLABD_REQUIRE_ORACLE is set, but there is no nc of OpenBSD here"
        );
        eprintln!("+---------------------------------------------------------------+");
        eprintln!("| there is no nc of OpenBSD here: the recipes have not been run |");
        eprintln!("+---------------------------------------------------------------+");
        return;
    }
    let readme = include_str!("../README.md");
    let (_, recipes) = readme.split_once("\n## Recipes\n").expect("the README has recipes");
    let (recipes, _) = recipes.split_once("\n## ").expect("a section follows them");
    let mut count = 0;
    for block in recipes.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("the block ends");
        let server = Server::start(1);
        let (commands, shown): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.starts_with("$ "));
        let script: String = commands.iter().map(|line| format!("{}\n", &line[2..])).collect();
        let script = script.replace("localhost 11211", &format!("{} {}", server.addr.ip(), server.addr.port()));
        let (printed, errors) = shell(&script);
        assert_eq!(errors, "", "{script}");
        assert_eq!(as_seen(&printed), as_seen(&shown.join("\n")), "{script}");
        count += 1;
    }
    assert_eq!(count, COUNT, "recipes that were run");
}
