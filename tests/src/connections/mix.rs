//! Very many conversations at once, none of which may lose a packet, or see one from anybody whom it does not speak to.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use super::{
    Protocol, Served, patience, reset_on_close,
    server::{Servers, ready},
    socket::make_room,
};
use crate::lab::Lab;

/// Conversations of one client at the same time.
const AT_ONCE: usize = 64;

/// Messages that are sent before the first of them is answered.
const WINDOW: u32 = 4;

/// A conversation's id holds its number in so many bits, and its party's above them.
const PARTY: u32 = 24;

/// After so many conversations that went wrong the rest is not begun.
const ENOUGH: usize = 20;

/// A conversation to come.
#[derive(Clone, Copy, Debug)]
pub struct Dialogue {
    /// Whom it speaks to.
    pub to: SocketAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// Which of the servers answers.
    pub server: usize,
    /// How many messages it sends, each of which is answered: at most 128.
    pub messages: u32,
    /// Whether it ends by RST, if it is a TCP connection.
    pub resets: bool,
}

/// Everything that one namespace has to say.
#[derive(Clone, Debug)]
pub struct Party {
    /// Its namespace.
    pub place: &'static str,
    /// In their order.
    pub dialogues: Vec<Dialogue>,
}

/// Holds all conversations; what went wrong.
pub fn hold(lab: &Lab, served: &[Served], parties: &[Party]) -> Vec<String> {
    let servers = Servers::open(lab, served);
    let (is_over, wrong) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let serving = scope.spawn(|| servers.serve(&is_over));
        let wrong = &wrong;
        let speaking: Vec<_> = (0..)
            .zip(parties)
            .map(|(number, party)| {
                let work = move || speak(party, number << PARTY, wrong);
                scope.spawn(move || lab.inside(party.place, work))
            })
            .collect();
        let ended: Vec<_> = speaking.into_iter().map(|it| it.join()).collect();
        is_over.store(true, Ordering::Release);
        for ended in ended {
            ended.expect("a client's thread").expect("poll");
        }
        let served = serving.join().expect("the servers' thread");
        served.unwrap_or_else(|error| panic!("the servers: {error}"));
    });
    wrong.into_inner().expect("nobody panicked")
}

/// What is sent: whose it is, which of its conversation's, who answers, and a pattern.
pub(super) struct Message(pub(super) [u8; Self::LENGTH]);

impl Message {
    /// In bytes.
    pub(super) const LENGTH: usize = 64;
    /// Where it says who answers.
    const SERVER: usize = 8;

    fn new(id: u32, number: u32) -> Self {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&id.to_be_bytes());
        bytes[4..8].copy_from_slice(&number.to_be_bytes());
        bytes[Self::SERVER] = u8::MAX;
        let pattern = bytes[Self::SERVER + 1..].iter_mut().zip(0_u32..);
        pattern.for_each(|(byte, at)| *byte = (id ^ number.wrapping_mul(31) ^ at) as u8);
        Self(bytes)
    }

    pub(super) fn read(bytes: &[u8]) -> Self {
        Self(*bytes.first_chunk().expect("a whole message"))
    }

    pub(super) fn answer(&mut self, server: u8) {
        self.0[Self::SERVER..]
            .iter_mut()
            .for_each(|byte| *byte = !*byte);
        self.0[Self::SERVER] = server;
    }

    fn number(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

enum Line {
    Udp(UdpSocket),
    Tcp { socket: TcpStream, part: Vec<u8> },
}

struct Speaker {
    id: u32,
    dialogue: Dialogue,
    line: Line,
    sent: u32,
    /// A bit for each answer that has come.
    answered: u128,
    last: Instant,
}

fn speak(party: &Party, first: u32, wrong: &Mutex<Vec<String>>) -> io::Result<()> {
    let complain = |dialogue: &Dialogue, error: io::Error| {
        let place = party.place;
        let mut wrong = wrong.lock().expect("nobody panicked");
        wrong.push(format!("{place}: {dialogue:?}: {error}"));
    };
    let is_enough = || wrong.lock().expect("nobody panicked").len() >= ENOUGH;
    let mut waiting = (first..).zip(&party.dialogues);
    let mut speakers: Vec<Speaker> = Vec::new();
    loop {
        while speakers.len() < AT_ONCE && !is_enough() {
            let Some((id, dialogue)) = waiting.next() else {
                break;
            };
            match Speaker::begin(id, *dialogue) {
                Ok(speaker) => speakers.push(speaker),
                Err(error) => complain(dialogue, error),
            }
        }
        if speakers.is_empty() {
            return Ok(());
        }
        let ready = ready(speakers.iter().map(Speaker::as_fd), 100)?;
        for index in (0..speakers.len()).rev() {
            let speaker = &mut speakers[index];
            let result = if ready[index] {
                speaker.go_on()
            } else {
                speaker.is_patient()
            };
            if let Err(error) = result {
                complain(&speakers.swap_remove(index).dialogue, error);
            } else if speaker.is_done() {
                speakers.swap_remove(index).end();
            }
        }
    }
}

impl Speaker {
    fn begin(id: u32, dialogue: Dialogue) -> io::Result<Self> {
        let line = match dialogue.protocol {
            Protocol::Udp => {
                let any: IpAddr = match dialogue.to {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                // Not connected: it would not see what comes from somebody else.
                let socket = UdpSocket::bind((any, 0))?;
                make_room(&socket);
                socket.set_nonblocking(true)?;
                Line::Udp(socket)
            }
            Protocol::Tcp => {
                let socket = TcpStream::connect_timeout(&dialogue.to, patience())?;
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                let part = Vec::new();
                Line::Tcp { socket, part }
            }
        };
        let mut speaker = Self {
            id,
            dialogue,
            line,
            sent: 0,
            answered: 0,
            last: Instant::now(),
        };
        speaker.send()?;
        Ok(speaker)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.line {
            Line::Udp(socket) => socket.as_fd(),
            Line::Tcp { socket, .. } => socket.as_fd(),
        }
    }

    fn is_done(&self) -> bool {
        self.answered.count_ones() == self.dialogue.messages
    }

    /// Sends as many messages as may be on their way.
    fn send(&mut self) -> io::Result<()> {
        let until = self.answered.count_ones() + WINDOW;
        while self.sent < self.dialogue.messages.min(until) {
            let message = Message::new(self.id, self.sent);
            match &mut self.line {
                Line::Udp(socket) => drop(socket.send_to(&message.0, self.dialogue.to)?),
                Line::Tcp { socket, .. } => socket.write_all(&message.0)?,
            }
            self.sent += 1;
        }
        Ok(())
    }

    fn go_on(&mut self) -> io::Result<()> {
        for answer in self.receive()? {
            self.take(&answer)?;
        }
        self.last = Instant::now();
        self.send()
    }

    fn receive(&mut self) -> io::Result<Vec<Message>> {
        let mut answers = Vec::new();
        let mut buffer = [0; 16 * Message::LENGTH];
        loop {
            let got = match &mut self.line {
                Line::Udp(socket) => socket.recv_from(&mut buffer).map(|(got, from)| {
                    let whole = (got, from) == (Message::LENGTH, self.dialogue.to);
                    (got, (!whole).then_some(from))
                }),
                Line::Tcp { socket, .. } => socket.read(&mut buffer).map(|got| (got, None)),
            };
            let (got, foreign) = match got {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(answers),
                result => result?,
            };
            if let Some(from) = foreign {
                return Err(io::Error::other(format!("{got} bytes from {from}")));
            }
            match &mut self.line {
                Line::Udp(_) => answers.push(Message::read(&buffer)),
                Line::Tcp { .. } if got == 0 => return Err(ErrorKind::UnexpectedEof.into()),
                Line::Tcp { part, .. } => {
                    part.extend(&buffer[..got]);
                    let whole = part.len() / Message::LENGTH * Message::LENGTH;
                    answers.extend(part[..whole].chunks(Message::LENGTH).map(Message::read));
                    part.drain(..whole);
                }
            }
        }
    }

    fn take(&mut self, answer: &Message) -> io::Result<()> {
        let number = answer.number();
        let mut expected = Message::new(self.id, number);
        expected.answer(u8::try_from(self.dialogue.server).expect("few servers"));
        if number >= self.sent || answer.0 != expected.0 {
            return Err(io::Error::other(format!("another answer: {:?}", answer.0)));
        }
        if self.answered & (1 << number) != 0 {
            return Err(io::Error::other(format!("answer {number} came twice")));
        }
        self.answered |= 1 << number;
        Ok(())
    }

    fn is_patient(&self) -> io::Result<()> {
        if self.last.elapsed() < patience() {
            return Ok(());
        }
        let (answered, sent) = (self.answered.count_ones(), self.sent);
        let told = format!("{answered} answers to {sent} messages");
        Err(io::Error::new(ErrorKind::TimedOut, told))
    }

    fn end(self) {
        if let (Line::Tcp { socket, .. }, true) = (&self.line, self.dialogue.resets) {
            reset_on_close(socket);
        }
    }
}
