//! The law that an answer must not depend on how the network cuts the bytes: every transcript, cut at every byte.
//!
//! Nearly all of it runs on a session without a socket; a sample goes over real ones.

#[expect(dead_code, reason = "this test uses a part of what the tests share")]
mod common;

use common::direct::{Direct, Values};
use common::server::Server;
use common::transcripts;
use common::wire::{Cut, Matched, Received, Step, Transcript, Wire, compile, joined, matched, play};
use std::collections::BTreeMap;

/// Enough for every transcript, and little to map.
const MEMORY_LEN: u64 = 16 << 20;

/// Steps up to this many bytes are cut at every byte, longer ones in their head, in their tail and here and there.
const CUT_EVERYWHERE_MAX: usize = 700;

/// Transcripts up to this many bytes are also sent byte by byte.
const BYTE_BY_BYTE_MAX: usize = 20_000;

#[test]
fn a_transcript_in_two_pieces_is_answered_as_in_one() {
    transcripts::all().for_each(|transcript| play_cut_everywhere(transcript, Values::Fed));
}

#[test]
fn a_value_read_straight_into_its_chunk_is_the_value_that_was_fed() {
    transcripts::all().for_each(|transcript| play_cut_everywhere(transcript, Values::Straight));
}

#[test]
fn a_transcript_byte_by_byte_is_answered_as_in_one_piece() {
    let mut direct = Direct::new(MEMORY_LEN);
    for transcript in transcripts::all().filter(|transcript| len(transcript) <= BYTE_BY_BYTE_MAX) {
        for values in [Values::Fed, Values::Straight] {
            play_afresh(&mut direct, transcript, values, Cut::EachByte);
        }
    }
}

#[test]
fn a_transcript_pipelined_in_one_piece_is_answered_in_order() {
    let mut count = 0;
    for transcript in transcripts::all() {
        let mut direct = Direct::new(MEMORY_LEN);
        let mut client = direct.connect(Values::Fed);
        let Some((request, pattern)) = joined(transcript, client.unix_secs()) else {
            continue;
        };
        client.send(&request);
        let answer = client.take_answer();
        let matched = matched(&pattern, &answer, &mut BTreeMap::new());
        assert_eq!(matched, Matched::Whole, "transcript '{}' answers {}", transcript.name, answer.escape_ascii());
        count += 1;
    }
    assert!(count > 20, "only {count} transcripts can be pipelined");
}

#[test]
fn a_transcript_cut_on_its_way_through_a_socket_is_answered_as_written() {
    let transcripts: Vec<&Transcript> = transcripts::all().filter(|transcript| len(transcript) <= 4000).collect();
    for (index, transcript) in transcripts.iter().enumerate() {
        // Each at one place, a different one each time, so that every kind of place is met somewhere.
        let step = index % transcript.steps.len();
        let byte = (index * 7) % step_len(&transcript.steps[step]).max(1);
        let server = Server::start(1 + index % 2);
        let mut client = server.connect().with_pieces_apart();
        play(transcript, &mut client, Cut::At { step, byte }).expect("the same answers as in one piece");
    }
}

#[test]
fn large_values_cut_on_their_way_through_a_socket_come_back_whole() {
    let server = Server::start(1);
    let mut client = server.connect().with_pieces_apart();
    for (index, len) in [20_000_usize, 70_000, 300_000, 1_000_000].into_iter().enumerate() {
        let value: Vec<u8> = (0..len).map(|at| (at % 251).to_le_bytes()[0]).collect();
        let mut request = format!("set k{index} 0 0 {len}\r\n").into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        for piece in request.chunks(len / 13 + index) {
            client.send(piece);
        }
        client.exchange(b"", b"STORED\r\n");
        let mut answer = format!("VALUE k{index} 0 {len}\r\n").into_bytes();
        answer.extend_from_slice(&value);
        answer.extend_from_slice(b"\r\nEND\r\n");
        client.exchange(format!("get k{index}\r\n").as_bytes(), &answer);
    }
}

#[test]
fn a_transcript_byte_by_byte_through_a_socket_is_answered_as_written() {
    let short = transcripts::all().filter(|transcript| len(transcript) <= 90);
    for transcript in short {
        let server = Server::start(1);
        play(transcript, &mut server.connect().with_pieces_apart(), Cut::EachByte).expect("the same answers");
    }
}

#[test]
fn half_a_request_is_answered_with_silence() {
    let mut direct = Direct::new(MEMORY_LEN);
    for half in ["g", "get", "get a", "get a\r", "set a 0 0 5", "set a 0 0 5\r\n", "set a 0 0 5\r\nhello", "qui"] {
        let mut client = direct.connect(Values::Fed);
        client.send(half.as_bytes());
        assert_eq!(client.receive(&mut Vec::new()), Received::Silence, "{half}");
    }
}

fn play_cut_everywhere(transcript: &Transcript, values: Values) {
    let mut direct = Direct::new(MEMORY_LEN);
    play_afresh(&mut direct, transcript, values, Cut::Whole);
    for step in 0..transcript.steps.len() {
        for byte in cuts(step_len(&transcript.steps[step])) {
            play_afresh(&mut direct, transcript, values, Cut::At { step, byte });
        }
    }
}

/// Plays a transcript to a daemon that knows nothing: a flushed one, or a new one where the last time has left a flush that
/// is still to come, or so many days gone that the clock would not last.
fn play_afresh(direct: &mut Direct, transcript: &Transcript, values: Values, cut: Cut) {
    let leaves_its_mark = |step: &Step| match step {
        Step::Say(say, _) | Step::Close(say, _) => {
            ["flush_all", "{req 08", "{req 18"].iter().any(|flush| say.contains(flush))
        }
        Step::Wait(ms) => *ms > 3_600_000,
    };
    if transcript.steps.iter().any(leaves_its_mark) {
        *direct = Direct::new(MEMORY_LEN);
    } else {
        direct.connect(Values::Fed).send(b"flush_all noreply\r\n");
    }
    if let Err(why) = play(transcript, &mut direct.connect(values), cut) {
        panic!("values {values:?}: {why}");
    }
}

fn step_len(step: &Step) -> usize {
    let (Step::Say(say, _) | Step::Close(say, _)) = step else {
        return 0;
    };
    let len = |piece| match piece {
        common::wire::Piece::Bytes(bytes) => bytes.len(),
        // A number of unknown length; cutting in most of it will do.
        common::wire::Piece::Number(_) | common::wire::Piece::Word => 2,
        common::wire::Piece::Cas(_) => 8,
    };
    compile(say, 1_700_000_000).into_iter().map(len).sum()
}

fn len(transcript: &Transcript) -> usize {
    transcript.steps.iter().map(step_len).sum()
}

fn cuts(len: usize) -> Vec<usize> {
    if len <= CUT_EVERYWHERE_MAX {
        return (1..len).collect();
    }
    let (head, tail) = (1..40, len - 20..len);
    let between = (40..len - 20).step_by((len / 6).max(1));
    head.chain(between).chain(tail).collect()
}
