//! Whoever is spoken to in a mix: one thread, with sockets in many namespaces.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{mix::Message, socket::make_room};
use crate::lab::Lab;

/// How long it waits before it looks whether it is to end, in milliseconds.
const TICK: u8 = 20;

/// Somebody who serves by UDP and TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its namespace.
    pub place: &'static str,
    /// Its address and port.
    pub at: SocketAddr,
}

/// All sockets of all servers. What they answer says which of them it is.
pub(super) struct Servers {
    datagrams: Vec<(u8, UdpSocket)>,
    listeners: Vec<(u8, TcpListener)>,
    streams: Vec<(u8, Stream)>,
}

struct Stream {
    socket: TcpStream,
    /// The part of a message that has come.
    part: Vec<u8>,
}

impl Servers {
    /// Opens the sockets; servers are numbered as they are told.
    pub(super) fn open(lab: &Lab, served: &[Served]) -> Self {
        let mut servers = Self {
            datagrams: Vec::new(),
            listeners: Vec::new(),
            streams: Vec::new(),
        };
        for (number, Served { place, at }) in (0..).zip(served) {
            let (datagrams, listener) = lab.inside(place, || {
                let datagrams = UdpSocket::bind(at).expect("a port");
                (datagrams, TcpListener::bind(at).expect("a port"))
            });
            make_room(&datagrams);
            datagrams.set_nonblocking(true).expect("nonblocking");
            listener.set_nonblocking(true).expect("nonblocking");
            servers.datagrams.push((number, datagrams));
            servers.listeners.push((number, listener));
        }
        servers
    }

    /// Serves until it is to end.
    pub(super) fn serve(mut self, is_over: &AtomicBool) -> io::Result<()> {
        while !is_over.load(Ordering::Acquire) {
            let ready = self.wait()?;
            let (datagrams, rest) = ready.split_at(self.datagrams.len());
            let (listeners, streams) = rest.split_at(self.listeners.len());
            for ((number, socket), _) in chosen(&self.datagrams, datagrams) {
                answer_datagrams(*number, socket)?;
            }
            // From the last on, so that those before keep their places.
            for index in (0..streams.len()).rev().filter(|index| streams[*index]) {
                let (number, stream) = &mut self.streams[index];
                if !stream.answer(*number)? {
                    self.streams.swap_remove(index);
                }
            }
            for ((number, listener), _) in chosen(&self.listeners, listeners) {
                accept(*number, listener, &mut self.streams)?;
            }
        }
        Ok(())
    }

    /// Which sockets have something, in the order of the fields.
    fn wait(&self) -> io::Result<Vec<bool>> {
        let datagrams = self.datagrams.iter().map(|(_, it)| it.as_fd());
        let listeners = self.listeners.iter().map(|(_, it)| it.as_fd());
        let streams = self.streams.iter().map(|(_, it)| it.socket.as_fd());
        ready(datagrams.chain(listeners).chain(streams), TICK)
    }
}

/// Which of these have something to read, after at most so many milliseconds.
pub(super) fn ready<'a>(
    sockets: impl Iterator<Item = BorrowedFd<'a>>,
    within: u8,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = sockets
        .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
        .collect();
    poll(&mut polled, PollTimeout::from(within))?;
    let ready = polled.iter().map(|it| it.any() != Some(false));
    Ok(ready.collect())
}

fn chosen<'a, T>(all: &'a [T], ready: &'a [bool]) -> impl Iterator<Item = (&'a T, &'a bool)> {
    all.iter().zip(ready).filter(|(_, ready)| **ready)
}

fn answer_datagrams(number: u8, socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; Message::LENGTH + 1];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((Message::LENGTH, from)) => {
                let mut message = Message::read(&buffer);
                message.answer(number);
                socket.send_to(&message.0, from)?;
            }
            Ok((length, from)) => {
                let told = format!("{length} bytes from {from}, which is no message");
                return Err(io::Error::other(told));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn accept(number: u8, listener: &TcpListener, to: &mut Vec<(u8, Stream)>) -> io::Result<()> {
    loop {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let part = Vec::new();
        to.push((number, Stream { socket, part }));
    }
}

impl Stream {
    /// Answers what has come; false at the end, whichever it is: whether it is the right one its client tells.
    fn answer(&mut self, number: u8) -> io::Result<bool> {
        let mut buffer = [0; 16 * Message::LENGTH];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(got) => self.part.extend(&buffer[..got]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if has_gone(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let whole = self.part.len() / Message::LENGTH * Message::LENGTH;
        let mut answers = Vec::with_capacity(whole);
        for message in self.part[..whole].chunks(Message::LENGTH) {
            let mut message = Message::read(message);
            message.answer(number);
            answers.extend(message.0);
        }
        self.part.drain(..whole);
        // Far less than what a socket takes at once.
        match self.socket.write_all(&answers) {
            Err(error) if has_gone(&error) => Ok(false),
            result => result.map(|()| true),
        }
    }
}

fn has_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
