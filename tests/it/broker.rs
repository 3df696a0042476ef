//! A real Mosquitto for the tests, a relay in front of it, and an independent subscriber.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

/// Longest wait for anything in these tests; only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`; panics with `what` when it never is.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited too long for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The broker's program on the search path; Debian puts it where only root looks.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("mosquitto"))
        .find(|program| program.is_file())
}

/// A port nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A Mosquitto on loopback, killed when dropped.
pub(crate) struct Broker {
    program: PathBuf,
    dir: tempfile::TempDir,
    child: Option<Child>,
    pub(crate) port: u16,
}

impl Broker {
    /// `None`, with a printed line, where Mosquitto is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("allow_anonymous true\n")
    }

    /// The same with these lines in its configuration.
    pub(crate) fn start_with(lines: &str) -> Option<Self> {
        let port = free_port();
        let fixed = format!(
            "listener {port} 127.0.0.1\npersistence false\nmax_queued_messages 0\nset_tcp_nodelay true\n"
        );
        Self::start_from(&(fixed + lines), port)
    }

    /// The same with this configuration, which listens on `port`.
    pub(crate) fn start_from(config: &str, port: u16) -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let config = format!("{config}\nlog_dest file {}\n", dir.path().join("log").display());
        std::fs::write(dir.path().join("conf"), config).unwrap();
        let mut broker = Self { program, dir, child: None, port };
        broker.revive();
        Some(broker)
    }

    /// Ends it like a power cut.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port, with nothing remembered.
    pub(crate) fn revive(&mut self) {
        assert!(self.child.is_none());
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.dir.path().join("conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let port = self.port;
        wait_for("the broker to listen", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            println!("--- log of the broker\n{log}");
        }
    }
}

/// A TCP relay that can be shut: lets a test decide when the station reaches the broker.
pub(crate) struct Relay {
    pub(crate) port: u16,
    open: Arc<AtomicBool>,
    frozen: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Self {
            port,
            open: Arc::new(AtomicBool::new(true)),
            frozen: Arc::default(),
            streams: Arc::default(),
        };
        let (open, frozen) = (relay.open.clone(), relay.frozen.clone());
        let streams = relay.streams.clone();
        thread::Builder::new()
            .name("relay".into())
            .spawn(move || {
                for near in listener.incoming().flatten() {
                    if !open.load(Ordering::SeqCst) {
                        continue;
                    }
                    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
                    let Ok(far) = TcpStream::connect(target) else { continue };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    {
                        let mut streams = streams.lock().unwrap();
                        streams.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                    }
                    pump(near.try_clone().unwrap(), far.try_clone().unwrap(), frozen.clone());
                    pump(far, near, frozen.clone());
                }
            })
            .unwrap();
        relay
    }

    /// Cuts what is connected and refuses what comes, until [`Relay::open`].
    pub(crate) fn shut(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Cuts what is connected; new connections are taken.
    pub(crate) fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Half-open: connections stay, nothing passes.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, frozen: Arc<AtomicBool>) {
    thread::Builder::new()
        .name("relay-pump".into())
        .spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(bytes @ 1..) = from.read(&mut buffer) {
                while frozen.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(5));
                }
                if to.write_all(&buffer[..bytes]).is_err() {
                    break;
                }
            }
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        })
        .unwrap();
}

/// A message as the subscriber got it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retained: bool,
    pub(crate) at: Instant,
}

/// An independent client that notes everything below `crr/`. It subscribes without
/// acknowledgements: Mosquitto then writes a message to it before it acknowledges the publisher,
/// so that a killed broker takes no acknowledged message along.
pub(crate) struct Subscriber {
    messages: Arc<Mutex<Vec<Received>>>,
    subscribed: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Subscriber {
    pub(crate) fn start(port: u16) -> Self {
        Self::start_as(port, None)
    }

    pub(crate) fn start_as(port: u16, login: Option<(&str, &str)>) -> Self {
        // Two clients of one broker must not share an id.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("watcher-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        if let Some((user, password)) = login {
            options.set_credentials(user, password);
        }
        Self::with(options)
    }

    /// A subscriber that connects like this.
    pub(crate) fn with(mut options: MqttOptions) -> Self {
        options.set_keep_alive(Duration::from_secs(5)).set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 10);
        let watcher =
            Self { messages: Arc::default(), subscribed: Arc::default(), stop: Arc::default() };
        let (messages, stop) = (watcher.messages.clone(), watcher.stop.clone());
        let subscribed = watcher.subscribed.clone();
        thread::Builder::new()
            .name("watcher".into())
            .spawn(move || {
                for event in connection.iter() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    match event {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            client.try_subscribe("crr/#", QoS::AtMostOnce).unwrap();
                        }
                        Ok(Event::Incoming(Packet::SubAck(_))) => {
                            subscribed.store(true, Ordering::SeqCst);
                        }
                        Ok(Event::Incoming(Packet::Publish(publish))) => {
                            messages.lock().unwrap().push(Received {
                                topic: publish.topic,
                                payload: publish.payload.to_vec(),
                                retained: publish.retain,
                                at: Instant::now(),
                            });
                        }
                        Ok(_) => {}
                        Err(_) => {
                            subscribed.store(false, Ordering::SeqCst);
                            thread::sleep(Duration::from_millis(20));
                        }
                    }
                }
            })
            .unwrap();
        watcher.wait_subscribed();
        watcher
    }

    pub(crate) fn wait_subscribed(&self) {
        wait_for("the subscriber", || self.subscribed.load(Ordering::SeqCst));
    }

    pub(crate) fn wait_lost(&self) {
        wait_for("the subscriber to notice", || !self.subscribed.load(Ordering::SeqCst));
    }

    pub(crate) fn count(&self, topic: &str) -> usize {
        self.messages.lock().unwrap().iter().filter(|message| message.topic == topic).count()
    }

    /// Everything, in the order in which it came.
    pub(crate) fn all(&self) -> Vec<Received> {
        self.messages.lock().unwrap().clone()
    }

    pub(crate) fn on(&self, topic: &str) -> Vec<Received> {
        let messages = self.messages.lock().unwrap();
        messages.iter().filter(|message| message.topic == topic).cloned().collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
