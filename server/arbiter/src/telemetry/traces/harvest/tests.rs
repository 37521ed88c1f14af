use podicorn_scoreboard::{Map, RequestEnd, RequestStart, SlotWriter, Ticket};

use super::*;

/// A worker's side and the arbiter's.
struct Bench {
    map: Map,
    writer: SlotWriter,
    harvester: Harvester,
}

impl Bench {
    fn new() -> Self {
        let (map, fd) = Map::create().unwrap();
        map.reader(0).unwrap().offer(1);
        let writer = Map::attach(fd).unwrap().claim(0, 1, 42).unwrap();
        Self { map, writer, harvester: Harvester::default() }
    }

    fn begin(&self, path: &str) -> Ticket {
        self.begin_as(path, true)
    }

    fn begin_as(&self, path: &str, is_sampled: bool) -> Ticket {
        self.begin_and_call(path, is_sampled).0
    }

    fn begin_and_call(&self, path: &str, is_sampled: bool) -> (Ticket, bool) {
        self.writer.begin_request(&RequestStart {
            method: b"GET",
            path: path.as_bytes(),
            start_unix_nanos: 1,
            queued_nanos: Some(1),
            is_https: false,
            trace_id: 1,
            span_id: 2,
            parent_id: 3,
            is_sampled,
        })
    }

    fn end(&self, ticket: Ticket, status: u16) -> bool {
        self.writer.end_request(ticket, RequestEnd { status, duration_nanos: 5, is_timed_out: status == 504 })
    }

    fn serve(&self, count: u64) {
        for _ in 0..count {
            let ticket = self.begin("/filler");
            self.end(ticket, 200);
        }
    }

    fn look(&mut self) -> Harvest {
        let reader = self.map.reader(0).unwrap();
        self.harvester.look(reader.ring_head(), |sequence| reader.ring_entry(sequence))
    }
}

fn paths(harvest: &Harvest) -> Vec<(&str, u16)> {
    harvest.ended.iter().map(|entry| (entry.path.as_str(), entry.status)).collect()
}

#[test]
fn each_request_is_told_once_when_it_has_ended() {
    let mut bench = Bench::new();
    let (first, second) = (bench.begin("/1"), bench.begin("/2"));
    bench.end(second, 404);
    assert_eq!(paths(&bench.look()), [("/2", 404)]);
    assert_eq!(bench.look(), Harvest::default());
    bench.end(first, 200);
    assert_eq!(paths(&bench.look()), [("/1", 200)]);
    assert_eq!(bench.look(), Harvest::default());
}

#[test]
fn what_is_not_sampled_is_left_out() {
    let mut bench = Bench::new();
    let ticket = bench.begin_as("/quiet", false);
    bench.look();
    bench.end(ticket, 200);
    assert_eq!(bench.look(), Harvest::default());
    assert_eq!(bench.harvester.abandon().count(), 0);
}

#[test]
fn a_long_request_outlives_its_entry() {
    let mut bench = Bench::new();
    let long = bench.begin("/long");
    for _ in 0..40 {
        bench.serve(RING / 2);
        let harvest = bench.look();
        assert_eq!((harvest.ended.len() as u64, harvest.lost), (RING / 2, 0));
    }
    bench.end(long, 504);
    let harvest = bench.look();
    assert_eq!(paths(&harvest), [("/long", 504)]);
    assert!(harvest.ended[0].is_timed_out);
    assert_eq!(harvest.lost, 0);
}

#[test]
fn an_end_near_the_brim_is_told_once() {
    for old in [SAFE_ENTRIES - 1, SAFE_ENTRIES, SAFE_ENTRIES + 1, RING - 2, RING - 1, RING, RING + 1] {
        for look_between in [false, true] {
            let mut bench = Bench::new();
            let edge = bench.begin("/edge");
            bench.look();
            for _ in 0..old {
                bench.serve(1);
                bench.look();
            }
            bench.end(edge, 201);
            let mut told = if look_between { paths(&bench.look()).len() } else { 0 };
            bench.serve(SAFE_ENTRIES);
            told += paths(&bench.look()).iter().filter(|(path, _)| *path == "/edge").count();
            bench.serve(SAFE_ENTRIES);
            told += paths(&bench.look()).iter().filter(|(path, _)| *path == "/edge").count();
            assert_eq!(told, 1, "ended after {old} others, look between: {look_between}");
        }
    }
}

#[test]
fn an_overrun_is_counted() {
    let mut bench = Bench::new();
    bench.serve(RING + 7);
    let harvest = bench.look();
    assert_eq!((harvest.ended.len() as u64, harvest.lost), (RING, 7));
    // One that may have ended without a trace is not taken for one that runs.
    let doubtful = bench.begin("/doubtful");
    bench.look();
    bench.end(doubtful, 200);
    bench.serve(2 * RING);
    let harvest = bench.look();
    assert_eq!(harvest.lost, RING + 1);
    assert_eq!(bench.harvester.abandon().count(), 0);
}

#[test]
fn a_dead_workers_requests_are_known() {
    let mut bench = Bench::new();
    bench.begin("/fatal");
    bench.serve(3);
    bench.look();
    let left: Vec<String> = bench.harvester.abandon().map(|entry| entry.path).collect();
    assert_eq!(left, ["/fatal"]);
}

#[test]
fn the_reader_is_called_for_each_half() {
    let bench = Bench::new();
    let calls = |sampled: &dyn Fn(u64) -> bool| {
        (0..4 * RING)
            .filter(|number| {
                let (ticket, called) = bench.begin_and_call("/", sampled(*number));
                assert!(!bench.end(ticket, 200));
                called
            })
            .count()
    };
    assert_eq!(calls(&|_| true), 8);
    assert_eq!(calls(&|number| number == 5), 1, "where something is sampled");
    assert_eq!(calls(&|_| false), 0);
}

#[test]
fn an_end_may_fill_a_half() {
    let bench = Bench::new();
    let long = bench.begin("/long");
    bench.serve(RING - 2);
    assert!(bench.end(long, 200), "it is the last entry of the ring");
}

#[test]
fn scribbles_are_not_believed() {
    let mut harvester = Harvester::default();
    assert_eq!(harvester.look(u64::MAX, |_| None), Harvest::default());
    assert_eq!(harvester.look(5, |_| None), Harvest::default());
    let harvest = harvester.look(5 + RING, |_| None);
    assert_eq!((harvest.ended.len(), harvest.lost), (0, RING));
}

#[test]
fn the_next_program_tells_the_rest_and_nothing_twice() {
    let mut bench = Bench::new();
    let (first, second) = (bench.begin("/1"), bench.begin("/2"));
    bench.serve(1);
    assert_eq!(paths(&bench.look()), [("/filler", 200)]);
    let (next, running) = bench.harvester.place();
    // One ends while no program is there.
    bench.end(first, 200);
    let reader = bench.map.reader(0).unwrap();
    let resumed = Harvester::resume(next, &running, |sequence| reader.ring_entry(sequence));
    bench.harvester = resumed;
    assert_eq!(paths(&bench.look()), [("/1", 200)]);
    bench.end(second, 500);
    bench.serve(1);
    assert_eq!(paths(&bench.look()), [("/2", 500), ("/filler", 200)]);
}
