//! A run as it could have been: every path and measure, noise that is the same each time.

use crate::{
    Family, Machine, Measure, Path, PathState, Reach, Rejected, Results, SCHEMA, Sample, Settings,
};

/// Rounds of [`run`].
pub const ROUNDS: u32 = 10;

/// The paths with their time per packet in nanoseconds.
pub const PATHS: [(Path, f64); 19] = [
    (Path::Direct, 620.0),
    (Path::Floor, 645.0),
    (Path::FloorRemote, 640.0),
    (Path::Netpath, 668.0),
    (Path::Kernel, 905.0),
    (Path::Iptables, 1240.0),
    (Path::IptablesRules(100), 1720.0),
    (Path::IptablesRules(1000), 6100.0),
    (Path::IptablesRules(5000), 28_000.0),
    (Path::NftRules(100), 2300.0),
    (Path::NftRules(1000), 11_500.0),
    (Path::NftRules(5000), 56_000.0),
    (Path::NftSet(100), 1330.0),
    (Path::NftSet(1000), 1335.0),
    (Path::NftSet(5000), 1350.0),
    (Path::NftFlowtable, 810.0),
    (Path::Nat, 1240.0),
    (Path::Bridge, 930.0),
    (Path::Vxlan, 1200.0),
];

/// The run. `iptables` of IPv6 across two nodes was rejected once, the flowtable is missing.
pub fn run() -> Results {
    let mut noise = Noise(1);
    let mut samples = Vec::new();
    for round in 0..ROUNDS {
        for (path, packet_ns) in PATHS {
            for reach in [Reach::SameNode, Reach::TwoNodes] {
                for family in [Family::V4, Family::V6] {
                    for measure in [
                        Measure::UdpPacket,
                        Measure::TcpRequest,
                        Measure::TcpConnect,
                        Measure::TcpBulk,
                    ] {
                        if path != Path::NftFlowtable && path.joins(reach, family) {
                            let of = (round, path, reach, family, measure);
                            samples.push(sample(of, packet_ns, &mut noise));
                        }
                    }
                }
            }
        }
    }
    Results {
        schema: SCHEMA,
        machine: machine(),
        settings: Settings {
            rounds: ROUNDS,
            seed: 7,
            cell_ms: 300,
            warm_up_ms: 50,
            udp_payload: 64,
            request: 64,
            processors: vec![0],
            quick: false,
        },
        paths: PATHS
            .map(|(path, _)| PathState {
                path,
                missing: (path == Path::NftFlowtable)
                    .then(|| "the kernel has no <nf_flow_table>".into()),
            })
            .to_vec(),
        samples,
        rejected: vec![Rejected {
            round: 3,
            path: Path::Iptables,
            reach: Reach::TwoNodes,
            family: Family::V6,
            measure: Measure::TcpBulk,
            reason: "FORWARD counted 10 of 12 packets & no more".into(),
        }],
        warnings: vec!["another node <that> is up".into()],
    }
}

/// Its machine, with a name to escape.
pub fn machine() -> Machine {
    Machine {
        cpu: "Fast & <Cheap> \"CPU\" @ 3 GHz".into(),
        cores: 2,
        memory: 8 << 30,
        kernel: "6.18.5".into(),
        virtual_machine: true,
        netpath: "0.1.0".into(),
        iptables: Some("iptables v1.8.9 (nf_tables)".into()),
        nft: None,
        started: 1_790_000_000,
    }
}

fn sample(of: (u32, Path, Reach, Family, Measure), packet_ns: f64, noise: &mut Noise) -> Sample {
    let (round, path, reach, family, measure) = of;
    let longer = if reach == Reach::TwoNodes { 1.4 } else { 1.0 };
    let wider = if family == Family::V6 { 1.05 } else { 1.0 };
    let packet_ns = packet_ns * longer * wider * (1.0 + 0.04 * noise.next());
    let (value, received) = match measure {
        Measure::UdpPacket => (packet_ns, 100_000),
        Measure::TcpRequest => (8_000.0 + 4.0 * packet_ns, 300),
        Measure::TcpConnect => (30_000.0 + 10.0 * packet_ns, 5_000),
        Measure::TcpBulk => (0.12 + packet_ns / 16_000.0, 400_000_000),
    };
    let round_trips_ns = if measure == Measure::TcpRequest {
        let tail =
            |noise: &mut Noise| 1.0 + 0.05 * noise.next() / (1.0 - noise.next().abs() + 0.002);
        (0..received)
            .map(|_| (value * tail(noise).max(0.8)) as u32)
            .collect()
    } else {
        Vec::new()
    };
    Sample {
        round,
        path,
        reach,
        family,
        measure,
        value,
        elapsed_ns: 300_000_000,
        cpu_ns: (value * received as f64 * 1.02) as u64,
        sent: received,
        received,
        round_trips_ns,
    }
}

/// Evenly spread over -1 to 1: the high bits of a linear congruential generator (Knuth's MMIX).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1 << 30) - 1.0
    }
}
