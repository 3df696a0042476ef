//! An MQTT broker inside the program, on loopback only.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// The port people expect.
const PORT_DEFAULT: u16 = 1883;
/// Clients that may look on besides the station and its subscriber.
const CONNECTIONS_MAX: usize = 32;
/// Largest message in bytes: the largest mask message and room to spare.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Messages a slow onlooker may have waiting.
const INFLIGHT_MAX: usize = 200;
/// Bytes of a log segment of one topic, and how many are kept: bounds the broker's memory.
const SEGMENT: (usize, usize) = (1 << 20, 4);
/// How long the broker may take to listen.
const START_WAIT: Duration = Duration::from_secs(5);

/// The running broker; it ends with the program.
pub(super) struct LocalBroker {
    port: u16,
}

impl LocalBroker {
    /// Starts on `port`, or on 1883 when that is free, or on any free port.
    pub(super) fn start(port: Option<u16>) -> Result<Self> {
        let port = free_port(port)?;
        let mut broker = Broker::new(config(port));
        std::thread::Builder::new()
            .name("crrd-broker".to_owned())
            .spawn(move || {
                if let Err(error) = broker.start() {
                    tracing::error!(%error, "the demonstration's broker ended");
                }
            })
            .context("cannot start the broker's thread")?;
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if started.elapsed() > START_WAIT {
                bail!("the broker does not listen on 127.0.0.1:{port}; try another --port");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { port })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

fn free_port(wanted: Option<u16>) -> Result<u16> {
    let port_of =
        |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|l| l.local_addr());
    let address = match wanted {
        Some(port) => port_of(port)
            .with_context(|| format!("port {port} is in use on 127.0.0.1; try another --port"))?,
        None => port_of(PORT_DEFAULT)
            .or_else(|_| port_of(0))
            .context("no free port on 127.0.0.1 for the broker")?,
    };
    Ok(address.port())
}

fn config(port: u16) -> Config {
    let server = ServerSettings {
        name: "demo".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: PAYLOAD_BYTES_MAX,
            max_inflight_count: INFLIGHT_MAX,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    Config {
        router: RouterConfig {
            max_connections: CONNECTIONS_MAX,
            max_outgoing_packet_count: INFLIGHT_MAX as u64,
            max_segment_size: SEGMENT.0,
            max_segment_count: SEGMENT.1,
            ..RouterConfig::default()
        },
        v4: Some([("demo".to_owned(), server)].into()),
        ..Config::default()
    }
}
