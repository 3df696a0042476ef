//! The kernel's buffer queue as its documentation has it, in memory: for tests without a device.
//!
//! Strict: it refuses what the kernel refuses, with the kernel's errors, and notes what no correct
//! program does.

mod controls;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::device::{Card, Control, Device, Filled, Interval, Layout, Ready, Sizes, Way};
use super::fourcc::FourCc;
use crate::frame::{Memory, PixelFormat, Slab};
use controls::controls;

/// A model; clones are the same device, as two descriptors of one node are.
#[derive(Clone)]
pub(crate) struct Model(Arc<Mutex<State>>);

pub(crate) struct State {
    /// The largest size; others are rounded down to multiples of eight.
    pub(crate) size_max: (u32, u32),
    pub(crate) formats: Vec<PixelFormat>,
    /// Bytes after each row.
    pub(crate) padding: u32,
    pub(crate) planes: u32,
    pub(crate) progressive: bool,
    pub(crate) rates_hz: Vec<u32>,
    pub(crate) controls: Vec<(Control, i64)>,
    /// Whether it can write into given memory.
    pub(crate) user_memory: bool,
    /// Whether buffers can be freed while they are still mapped (Linux 4.20 and newer).
    pub(crate) orphans: bool,
    pub(crate) exports: bool,
    pub(crate) buffers_max: u32,
    /// The sequence number of the next picture.
    pub(crate) sequence: u32,
    /// Added to the sequence number with each picture.
    pub(crate) count_by: u32,
    /// What a picture may be: damaged, cut short, late.
    pub(crate) next: Shot,
    layout: Option<Layout>,
    way: Way,
    slots: Vec<Slot>,
    queued: VecDeque<u32>,
    done: VecDeque<(u32, Shot, u32)>,
    streaming: bool,
    plugged: bool,
    mapped: Arc<Mutex<usize>>,
    /// Each request, by name.
    pub(crate) log: Vec<&'static str>,
    violations: Vec<String>,
}

/// How the next picture comes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shot {
    pub(crate) damaged: bool,
    pub(crate) bytes_short: u32,
    pub(crate) offset: u32,
    pub(crate) age_ns: u64,
}

enum Slot {
    Idle,
    Mapped(usize),
    Queued(Box<dyn Slab>),
}

/// A mapped buffer of the model.
struct Mapped {
    bytes: Box<[u8]>,
    exported: Option<i32>,
    alive: Arc<Mutex<usize>>,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        *self.alive.lock().unwrap() -= 1;
    }
}

impl Slab for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn memory(&self) -> Memory {
        match self.exported {
            Some(fd) => Memory::DmaBuf { fd, offset: 0, len: self.bytes.len() },
            None => Memory::Heap,
        }
    }
}

fn refused(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl Model {
    /// A camera of 64x48 pixels that has everything.
    pub(crate) fn new() -> Model {
        Model(Arc::new(Mutex::new(State {
            size_max: (64, 48),
            formats: PixelFormat::ALL.to_vec(),
            padding: 0,
            planes: 1,
            progressive: true,
            rates_hz: vec![5, 25, 50],
            controls: controls(),
            user_memory: true,
            orphans: true,
            exports: true,
            buffers_max: 32,
            sequence: 0,
            count_by: 1,
            next: Shot::default(),
            layout: None,
            way: Way::Mmap,
            slots: vec![],
            queued: VecDeque::new(),
            done: VecDeque::new(),
            streaming: false,
            plugged: true,
            mapped: Arc::default(),
            log: vec![],
            violations: vec![],
        })))
    }

    /// The same with something changed.
    pub(crate) fn with(change: impl FnOnce(&mut State)) -> Model {
        let model = Model::new();
        change(&mut model.state());
        model
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The sensor takes a picture: into the oldest queued buffer, or into nothing.
    pub(crate) fn shoot(&self) -> bool {
        let mut state = self.state();
        if !state.streaming || !state.plugged {
            return false;
        }
        let sequence = state.sequence;
        state.sequence = sequence.wrapping_add(state.count_by);
        let Some(slot) = state.queued.pop_front() else { return false };
        let shot = std::mem::take(&mut state.next);
        if let Slot::Queued(slab) = &mut state.slots[slot as usize] {
            slab.bytes_mut().fill(sequence as u8);
        }
        state.done.push_back((slot, shot, sequence));
        true
    }

    /// Pictures that nobody could ever receive.
    pub(crate) fn skip(&self, frames: u32) {
        let mut state = self.state();
        state.sequence = state.sequence.wrapping_add(frames);
    }

    pub(crate) fn unplug(&self) {
        self.state().plugged = false;
    }

    pub(crate) fn plug_in_again(&self) {
        let mut state = self.state();
        state.plugged = true;
        state.streaming = false;
        state.sequence = 0;
        state.layout = None;
        state.slots.clear();
        state.queued.clear();
        state.done.clear();
        state.controls = controls();
    }

    /// A program opens the node anew, which closed it before: its queue is released, unless
    /// mappings keep the node open.
    pub(crate) fn open_anew(&self) {
        let mut state = self.state();
        if *state.mapped.lock().unwrap() == 0 {
            state.slots.clear();
        }
    }

    /// Mapped buffers that are alive, those of former streams included.
    pub(crate) fn mapped(&self) -> usize {
        let mapped = Arc::clone(&self.state().mapped);
        *mapped.lock().unwrap()
    }

    /// Where the buffers of the stream lie, whoever has them.
    pub(crate) fn places(&self) -> Vec<usize> {
        let state = self.state();
        let place = |slot: &Slot| match slot {
            Slot::Idle => None,
            Slot::Mapped(at) => Some(*at),
            Slot::Queued(slab) => Some(slab.bytes().as_ptr() as usize),
        };
        state.slots.iter().filter_map(place).collect()
    }

    /// Opens this model as a camera would open a node.
    pub(crate) fn opener(&self) -> super::Opener {
        let model = self.clone();
        Box::new(move || {
            model.open_anew();
            let device: Arc<dyn Device> = Arc::new(model.clone());
            device.card().map(|_| device)
        })
    }

    /// Empty and filled buffers with the driver.
    pub(crate) fn with_driver(&self) -> (usize, usize) {
        let state = self.state();
        (state.queued.len(), state.done.len())
    }

    #[track_caller]
    pub(crate) fn assert_well_treated(&self) {
        let state = self.state();
        assert!(state.violations.is_empty(), "{:#?}", state.violations);
    }
}

impl State {
    fn present(&mut self, request: &'static str) -> io::Result<()> {
        self.log.push(request);
        if self.plugged { Ok(()) } else { Err(refused(libc::ENODEV)) }
    }

    fn violate<T>(&mut self, what: String, errno: i32) -> io::Result<T> {
        self.violations.push(what);
        Err(refused(errno))
    }

    fn control(&mut self, id: u32) -> io::Result<&mut (Control, i64)> {
        self.controls.iter_mut().find(|(c, _)| c.id == id).ok_or_else(|| refused(libc::EINVAL))
    }
}

impl Device for Model {
    fn card(&self) -> io::Result<Card> {
        self.state().present("QUERYCAP")?;
        let [driver, name, bus] = ["model", "Model camera", "memory"].map(str::to_owned);
        Ok(Card { driver, name, bus, captures: true, streams: true })
    }

    fn formats(&self) -> io::Result<Vec<FourCc>> {
        let mut state = self.state();
        state.present("ENUM_FMT")?;
        let known = state.formats.iter().map(|format| FourCc::of(*format));
        Ok(known.chain([FourCc(u32::from_le_bytes(*b"pRAA"))]).collect())
    }

    fn sizes(&self, format: FourCc) -> io::Result<Vec<Sizes>> {
        let mut state = self.state();
        state.present("ENUM_FRAMESIZES")?;
        let range = Sizes::Range { min: (8, 1), max: state.size_max, step: (8, 1) };
        Ok(format.format().map(|_| range).into_iter().collect())
    }

    fn intervals(&self, _: FourCc, _: (u32, u32)) -> io::Result<Vec<Interval>> {
        let mut state = self.state();
        state.present("ENUM_FRAMEINTERVALS")?;
        Ok(state.rates_hz.iter().map(|hz| Interval { seconds: 1, per: *hz }).collect())
    }

    fn set_format(&self, format: FourCc, (width, height): (u32, u32)) -> io::Result<Layout> {
        let mut state = self.state();
        state.present("S_FMT")?;
        if !state.slots.is_empty() {
            return Err(refused(libc::EBUSY));
        }
        let wanted = format.format().filter(|format| state.formats.contains(format));
        let made = wanted.unwrap_or(state.formats[0]);
        let width = (width.min(state.size_max.0) / 8 * 8).max(8);
        let height = height.min(state.size_max.1).max(1);
        let row = made.row_bytes(width as usize) as u32;
        let stride = if made.is_compressed() { 0 } else { row + state.padding };
        let bytes = match made.is_compressed() {
            true => width * height,
            false => stride * made.rows(height as usize) as u32,
        };
        let format = FourCc::of(made);
        let (planes, progressive) = (state.planes, state.progressive);
        let layout = Layout { format, width, height, stride, bytes, planes, progressive };
        state.layout = Some(layout);
        Ok(layout)
    }

    fn set_interval(&self, interval: Interval) -> io::Result<Option<Interval>> {
        let mut state = self.state();
        state.present("S_PARM")?;
        let distance = |hz: &u32| ((f64::from(*hz) - interval.hz()).abs() * 1e3) as u64;
        let nearest = state.rates_hz.iter().copied().min_by_key(distance);
        Ok(nearest.map(|hz| Interval { seconds: 1, per: hz }))
    }

    fn control_after(&self, id: u32) -> io::Result<Control> {
        let mut state = self.state();
        state.present("QUERY_EXT_CTRL")?;
        let mut known: Vec<_> = state.controls.iter().map(|(control, _)| control).collect();
        known.sort_by_key(|control| control.id);
        let next = known.into_iter().find(|control| control.id > id);
        next.cloned().ok_or_else(|| refused(libc::EINVAL))
    }

    fn menu_item(&self, id: u32, index: u32) -> io::Result<String> {
        let mut state = self.state();
        state.present("QUERYMENU")?;
        match (id, index) {
            (0x009a_0901, 1) => Ok("Manual Mode".to_owned()),
            (0x009a_0901, 3) => Ok("Aperture Priority Mode".to_owned()),
            _ => Err(refused(libc::EINVAL)),
        }
    }

    fn value(&self, control: &Control) -> io::Result<i64> {
        let mut state = self.state();
        state.present("G_EXT_CTRLS")?;
        Ok(state.control(control.id)?.1)
    }

    fn set_value(&self, control: &Control, value: i64) -> io::Result<()> {
        const AUTO_EXPOSURE: u32 = 0x009a_0901;
        const LINE_TIME: u32 = 0x009a_0910;
        let mut state = self.state();
        state.present("S_EXT_CTRLS")?;
        let (control, now) = state.control(control.id)?;
        if control.inactive() {
            return Err(refused(libc::EACCES));
        }
        if !(control.minimum..=control.maximum).contains(&value) {
            return Err(refused(libc::ERANGE));
        }
        // A sensor that can do multiples of 40 only, although it states steps of 10.
        *now = if control.id == LINE_TIME { value / 40 * 40 } else { value };
        if control.id == AUTO_EXPOSURE {
            let manual = value == 1;
            let (exposure, _) = state.control(0x009a_0902)?;
            exposure.flags = if manual { 0 } else { 0x10 };
        }
        Ok(())
    }

    fn allocate(&self, way: Way, count: u32) -> io::Result<u32> {
        let mut state = self.state();
        state.present("REQBUFS")?;
        if state.streaming {
            return state.violate("REQBUFS while streaming".into(), libc::EBUSY);
        }
        if way == Way::UserPtr && !state.user_memory {
            return Err(refused(libc::EINVAL));
        }
        let mapped = *state.mapped.lock().unwrap();
        if !state.orphans && mapped > 0 {
            return Err(refused(libc::EBUSY));
        }
        if count > 0 && state.layout.is_none() {
            return state.violate("REQBUFS without a format".into(), libc::EINVAL);
        }
        let given = count.min(state.buffers_max);
        state.way = way;
        state.queued.clear();
        state.done.clear();
        state.slots = (0..given).map(|_| Slot::Idle).collect();
        Ok(given)
    }

    fn map(&self, slot: u32) -> io::Result<Box<dyn Slab>> {
        let mut state = self.state();
        state.present("QUERYBUF")?;
        let bytes = state.layout.map_or(0, |layout| layout.bytes as usize);
        let exported = state.exports.then_some(100 + slot as i32);
        let alive = Arc::clone(&state.mapped);
        let idle = matches!(state.slots.get(slot as usize), Some(Slot::Idle));
        if !idle || state.way != Way::Mmap {
            return state.violate(format!("mapping buffer {slot}"), libc::EINVAL);
        }
        let mapped = Mapped { bytes: vec![0; bytes].into(), exported, alive };
        *mapped.alive.lock().unwrap() += 1;
        state.slots[slot as usize] = Slot::Mapped(mapped.bytes.as_ptr() as usize);
        Ok(Box::new(mapped))
    }

    fn queue(&self, slot: u32, slab: Box<dyn Slab>) -> io::Result<()> {
        let mut state = self.state();
        state.present("QBUF")?;
        let need = state.layout.map_or(usize::MAX, |layout| layout.bytes as usize);
        let at = slab.bytes().as_ptr() as usize;
        let fits = match (state.slots.get(slot as usize), state.way) {
            (Some(Slot::Mapped(mine)), Way::Mmap) => *mine == at,
            (Some(Slot::Idle), Way::UserPtr) => slab.bytes().len() >= need,
            _ => false,
        };
        if !fits {
            return state
                .violate(format!("QBUF of buffer {slot} with foreign memory"), libc::EINVAL);
        }
        state.slots[slot as usize] = Slot::Queued(slab);
        state.queued.push_back(slot);
        Ok(())
    }

    fn dequeue(&self) -> io::Result<Option<Filled>> {
        let mut state = self.state();
        state.present("DQBUF")?;
        if !state.streaming {
            return state.violate("DQBUF without a stream".into(), libc::EINVAL);
        }
        let Some((slot, shot, sequence)) = state.done.pop_front() else { return Ok(None) };
        let Slot::Queued(slab) = std::mem::replace(&mut state.slots[slot as usize], Slot::Idle)
        else {
            unreachable!("a filled buffer is with the driver");
        };
        if state.way == Way::Mmap {
            state.slots[slot as usize] = Slot::Mapped(slab.bytes().as_ptr() as usize);
        }
        let whole = state.layout.map_or(0, |layout| layout.bytes);
        Ok(Some(Filled {
            slot,
            slab,
            bytes: (whole - shot.bytes_short) as usize,
            offset: shot.offset as usize,
            damaged: shot.damaged,
            sequence,
            stamp_ns: Some(1_000 + u64::from(sequence)),
            age_ns: Some(shot.age_ns),
        }))
    }

    fn start(&self) -> io::Result<()> {
        let mut state = self.state();
        state.present("STREAMON")?;
        if state.streaming || state.queued.is_empty() {
            return state.violate("STREAMON twice or without buffers".into(), libc::EINVAL);
        }
        state.streaming = true;
        state.sequence = 0;
        Ok(())
    }

    fn stop(&self) -> io::Result<()> {
        let mut state = self.state();
        state.present("STREAMOFF")?;
        state.streaming = false;
        state.queued.clear();
        state.done.clear();
        for slot in &mut state.slots {
            if matches!(slot, Slot::Queued(_)) {
                *slot = Slot::Idle;
            }
        }
        Ok(())
    }

    fn wait(&self, ns: u64) -> io::Result<Ready> {
        let until = Instant::now() + Duration::from_nanos(ns);
        loop {
            let state = self.state();
            if !state.plugged || !state.streaming {
                return Ok(Ready::Broken);
            }
            if !state.done.is_empty() {
                return Ok(Ready::Filled);
            }
            drop(state);
            if Instant::now() >= until {
                return Ok(Ready::Nothing);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}
