//! A camera that plays a script: the second implementation of [`Device`] and [`Stream`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::{
    Bounds, Chunks, Counters, Delivery, Device, DeviceError, Identity, Kind, Picture, Status,
    Stream, Transport,
};
use crate::config::{FeatureValue, GigeLink};
use crate::frame::Lease;

/// What the stream does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feed {
    /// A whole picture with this number of the camera's.
    Whole(u64),
    /// The same; behind the picture stands what of these facts is switched on.
    Told(u64, Chunks),
    /// A picture with packets missing.
    Incomplete(u64),
    /// A buffer that comes back unused.
    Unused,
    /// A picture for which there was no buffer.
    Underrun,
    /// The camera is gone.
    Lost,
}

/// A feature and how it behaves.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) value: FeatureValue,
    pub(super) bounds: Option<Bounds>,
    pub(super) entries: Vec<String>,
    /// The selector it depends on.
    pub(super) selector: Option<String>,
}

/// The state of the camera, which outlives its devices.
#[derive(Default)]
pub(super) struct World {
    pub(super) nodes: BTreeMap<String, Node>,
    /// Values under a selector: `TriggerMode@FrameStart`.
    selected: BTreeMap<String, FeatureValue>,
    /// Whether each opening gets control; afterwards all do.
    pub(super) control: VecDeque<bool>,
    pub(super) feed: VecDeque<Feed>,
    pub(super) lost: bool,
    /// Everything that was written or run, in order.
    pub(super) log: Vec<String>,
    pub(super) opened: u32,
    pub(super) paused_ms: Vec<u64>,
    counters: Counters,
}

/// A handle on the camera for the test and for the transport.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<World>>);

impl Script {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A camera with a 16 x 8 sensor and what every camera has.
    pub(super) fn plain() -> Self {
        let script = Self::default();
        let whole = |max: f64| Some(Bounds { min: 0.0, max, increment: Some(1.0) });
        script.integer("Width", 16, whole(16.0));
        script.integer("Height", 8, whole(8.0));
        script.integer("OffsetX", 4, whole(16.0));
        script.integer("OffsetY", 0, whole(8.0));
        script.integer("PayloadSize", 128, None);
        script.word("AcquisitionMode", "Continuous", &["Continuous", "SingleFrame"]);
        script.word("PixelFormat", "Mono12", &["Mono8", "Mono12"]);
        script.word("ExposureAuto", "Continuous", &["Off", "Continuous"]);
        script.word("TriggerSelector", "FrameStart", &["FrameStart", "AcquisitionStart"]);
        script.word("TriggerMode", "On", &["Off", "On"]);
        script.word("TriggerSource", "Line1", &["Line1", "Software"]);
        script.world().nodes.get_mut("TriggerMode").unwrap().selector =
            Some("TriggerSelector".into());
        script.float(
            "ExposureTimeAbs",
            100.0,
            Bounds { min: 10.0, max: 1e6, increment: Some(5.0) },
        );
        script
    }

    pub(super) fn node(&self, name: &str, kind: Kind, value: FeatureValue, bounds: Option<Bounds>) {
        let node = Node { kind, value, bounds, entries: Vec::new(), selector: None };
        self.world().nodes.insert(name.into(), node);
    }

    pub(super) fn integer(&self, name: &str, value: i64, bounds: Option<Bounds>) {
        self.node(name, Kind::Integer, FeatureValue::Integer(value), bounds);
    }

    pub(super) fn float(&self, name: &str, value: f64, bounds: Bounds) {
        self.node(name, Kind::Float, FeatureValue::Float(value), Some(bounds));
    }

    pub(super) fn word(&self, name: &str, value: &str, entries: &[&str]) {
        self.node(name, Kind::Enumeration, FeatureValue::Text(value.into()), None);
        let entries = entries.iter().map(|entry| (*entry).to_owned()).collect();
        self.world().nodes.get_mut(name).unwrap().entries = entries;
    }

    pub(super) fn value(&self, name: &str) -> FeatureValue {
        self.world().nodes[name].value.clone()
    }

    pub(super) fn feed(&self, feed: impl IntoIterator<Item = Feed>) {
        self.world().feed.extend(feed);
    }

    /// Gives it facts to tell of each frame, all switched off.
    pub(super) fn tells(&self, facts: &[&str]) {
        self.node("ChunkModeActive", Kind::Boolean, FeatureValue::Boolean(false), None);
        self.word("ChunkSelector", "Image", facts);
        self.node("ChunkEnable", Kind::Boolean, FeatureValue::Boolean(false), None);
        self.world().nodes.get_mut("ChunkEnable").unwrap().selector = Some("ChunkSelector".into());
    }

    pub(super) fn transport(&self) -> Box<dyn Transport> {
        Box::new(self.clone())
    }
}

impl Transport for Script {
    fn open(&mut self, name: &str) -> Result<Box<dyn Device>, DeviceError> {
        if name == "absent" {
            return Err(DeviceError("not found".into()));
        }
        let mut world = self.world();
        world.opened += 1;
        world.lost = false;
        let ours = world.control.pop_front().unwrap_or(true);
        let identity = Identity {
            vendor: "Maker".into(),
            model: "Model".into(),
            serial: "17".into(),
            address: "10.0.0.7".into(),
        };
        Ok(Box::new(Scripted { script: self.clone(), ours, identity }))
    }

    fn pause(&mut self, ms: u64) {
        self.world().paused_ms.push(ms);
    }
}

struct Scripted {
    script: Script,
    ours: bool,
    identity: Identity,
}

/// Where the value of `name` is kept just now.
fn key(world: &World, name: &str) -> Option<String> {
    let selector = world.nodes.get(name)?.selector.as_ref()?;
    match &world.nodes.get(selector)?.value {
        FeatureValue::Text(entry) => Some(format!("{name}@{entry}")),
        _ => None,
    }
}

impl World {
    /// Of these facts those that are switched on.
    fn told(&self, facts: Chunks) -> Chunks {
        let on = FeatureValue::Boolean(true);
        let active = self.nodes.get("ChunkModeActive").is_some_and(|node| node.value == on);
        let is_on = |fact| active && self.selected.get(&format!("ChunkEnable@{fact}")) == Some(&on);
        Chunks {
            frame_id: facts.frame_id.filter(|_| is_on("FrameID")),
            ticks: facts.ticks.filter(|_| is_on("Timestamp")),
            exposure_us: facts.exposure_us.filter(|_| is_on("ExposureTime")),
            gain: facts.gain.filter(|_| is_on("Gain")),
            line_status: facts.line_status.filter(|_| is_on("LineStatusAll")),
            counter: facts.counter.filter(|_| is_on("CounterValue")),
        }
    }
}

impl Device for Scripted {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn is_ours(&self) -> bool {
        self.ours
    }

    fn is_lost(&self) -> bool {
        self.script.world().lost
    }

    fn kind(&self, name: &str) -> Option<Kind> {
        self.script.world().nodes.get(name).map(|node| node.kind)
    }

    fn read(&self, name: &str) -> Result<FeatureValue, DeviceError> {
        let world = self.script.world();
        let node = world.nodes.get(name).ok_or_else(|| DeviceError(format!("[{name}] absent")))?;
        let selected = key(&world, name).and_then(|key| world.selected.get(&key));
        Ok(selected.unwrap_or(&node.value).clone())
    }

    fn write(&self, name: &str, value: &FeatureValue) -> Result<(), DeviceError> {
        let mut world = self.script.world();
        world.log.push(format!("{name} = {value}"));
        let key = key(&world, name);
        let node = world.nodes.get_mut(name).ok_or_else(|| DeviceError("absent".into()))?;
        let number = match value {
            FeatureValue::Integer(whole) => Some(*whole as f64),
            FeatureValue::Float(number) => Some(*number),
            _ => None,
        };
        if let (Some(bounds), Some(number)) = (node.bounds, number)
            && !(bounds.min..=bounds.max).contains(&number)
        {
            return Err(DeviceError("out of range".into()));
        }
        let mut taken = value.clone();
        if let (FeatureValue::Text(word), false) = (value, node.entries.is_empty())
            && !node.entries.contains(word)
        {
            return Err(DeviceError("no such entry".into()));
        }
        if let (FeatureValue::Float(number), Some(Bounds { increment: Some(step), .. })) =
            (value, node.bounds)
        {
            taken = FeatureValue::Float((number / step).round() * step);
        }
        match key {
            Some(key) => drop(world.selected.insert(key, taken)),
            None => node.value = taken,
        }
        Ok(())
    }

    fn run(&self, name: &str) -> Result<(), DeviceError> {
        self.script.world().log.push(name.to_owned());
        Ok(())
    }

    fn bounds(&self, name: &str) -> Option<Bounds> {
        self.script.world().nodes.get(name)?.bounds
    }

    fn entries(&self, name: &str) -> Vec<String> {
        self.script.world().nodes.get(name).map(|node| node.entries.clone()).unwrap_or_default()
    }

    fn stream(&mut self, _: &GigeLink) -> Result<Box<dyn Stream>, DeviceError> {
        let pushed = VecDeque::new();
        Ok(Box::new(ScriptedStream { script: self.script.clone(), pushed }))
    }

    fn start(&self) -> Result<(), DeviceError> {
        self.run("AcquisitionStart")
    }

    fn stop(&self) -> Result<(), DeviceError> {
        self.run("AcquisitionStop")
    }
}

/// The time in the packets of the frame with this number.
pub(super) fn device_ns(raw: u64) -> u64 {
    raw * 1_000
}

struct ScriptedStream {
    script: Script,
    pushed: VecDeque<Lease>,
}

impl Stream for ScriptedStream {
    fn push(&mut self, lease: Lease) {
        self.pushed.push_back(lease);
    }

    fn pushed(&self) -> usize {
        self.pushed.len()
    }

    fn pop(&mut self, ns: u64) -> Option<Delivery> {
        let mut world = self.script.world();
        let next = world.feed.pop_front();
        let chunks = match next {
            Some(Feed::Told(_, facts)) => world.told(facts),
            _ => Chunks::default(),
        };
        let (status, raw_id) = match next {
            None => {
                drop(world);
                std::thread::sleep(std::time::Duration::from_nanos(ns));
                return None;
            }
            Some(Feed::Underrun) => {
                world.counters.underruns += 3;
                return None;
            }
            Some(Feed::Lost) => {
                world.lost = true;
                return None;
            }
            Some(Feed::Whole(raw) | Feed::Told(raw, _)) => (Status::Whole, Some(raw)),
            Some(Feed::Incomplete(raw)) => (Status::Incomplete, Some(raw)),
            Some(Feed::Unused) => (Status::Unused, None),
        };
        let mut lease = self.pushed.pop_front()?;
        lease[0] = raw_id.unwrap_or_default() as u8;
        let format = 0x0108_0001;
        let picture = Picture { format, width: 16, height: 8, received: 128 };
        let picture = (status == Status::Whole).then_some(picture);
        let device_ns = raw_id.map(device_ns);
        Some(Delivery { lease, status, raw_id, age_ns: 0, device_ns, picture, chunks })
    }

    fn is_lost(&self) -> bool {
        self.script.world().lost
    }

    fn counters(&self) -> Counters {
        self.script.world().counters
    }
}
