//! Live channels: WebSockets that are members of a room, which lives in this server's memory.
//!
//! A channel belongs to a session. Commands are text:
//!
//! | message | answer |
//! | --- | --- |
//! | `cart`, `add ITEM`, `checkout` | as over HTTP, where the server keeps the session |
//! | `say TEXT` | [`Said`], to all members of the room |
//! | anything else | itself, at once: no work |

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use serde::Serialize;
use tokio::sync::{broadcast, watch};

use super::answer::Said;
use super::routes::{self, Reply};
use super::{App, Claim};

/// A member that does not read so many messages misses the oldest.
const BACKLOG: usize = 64;

/// Members can talk about this much in one message.
pub(super) const LONGEST_MESSAGE: usize = 16 << 10;

/// All rooms, and all who are in them.
#[derive(Debug)]
pub(super) struct Rooms {
    rooms: Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>,
    members: AtomicU64,
    /// Becomes true when everybody has to leave.
    closing: watch::Sender<bool>,
}

impl Default for Rooms {
    fn default() -> Self {
        Rooms {
            rooms: Mutex::default(),
            members: AtomicU64::new(0),
            closing: watch::Sender::new(false),
        }
    }
}

impl Rooms {
    /// Live channels.
    pub(super) fn members(&self) -> u64 {
        self.members.load(Ordering::Relaxed)
    }

    /// Tells everybody to leave.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    fn enter(&self, room: &str) -> broadcast::Sender<Utf8Bytes> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        // An empty room is forgotten when the next one comes in.
        rooms.retain(|_, members| members.receiver_count() > 0);
        let new = || broadcast::Sender::new(BACKLOG);
        rooms.entry(room.to_owned()).or_insert_with(new).clone()
    }
}

/// Counts a member for as long as it lives.
struct Membership<'a>(&'a Rooms);

impl<'a> Membership<'a> {
    fn new(rooms: &'a Rooms) -> Self {
        rooms.members.fetch_add(1, Ordering::Relaxed);
        Membership(rooms)
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a channel until either side ends it.
pub(super) async fn serve(
    app: Arc<App>,
    claim: Claim,
    user: String,
    room: String,
    mut socket: WebSocket,
) {
    let _membership = Membership::new(&app.rooms);
    let voice = app.rooms.enter(&room);
    let mut ear = voice.subscribe();
    let mut closing = app.rooms.closing.subscribe();
    loop {
        let answer = tokio::select! {
            () = is_closing(&mut closing) => {
                let reason = Utf8Bytes::from_static("the server stops");
                let away = CloseFrame { code: close_code::AWAY, reason };
                // The client may be gone already.
                let _ = socket.send(Message::Close(Some(away))).await;
                return;
            }
            heard = ear.recv() => match heard {
                Ok(said) => said,
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                // We hold a sender ourselves.
                Err(broadcast::error::RecvError::Closed) => return,
            },
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => {
                    match command(&app, &claim, &text).await {
                        Some(answer) => answer,
                        None if text.starts_with("say ") => {
                            app.work().await;
                            let server = app.name.clone();
                            let text = text["say ".len()..].to_owned();
                            let said = Said { server, room: room.clone(), user: user.clone(), text };
                            // It comes back to us through our own ear.
                            let _ = voice.send(json(&said));
                            continue;
                        }
                        None => text,
                    }
                }
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        };
        if socket.send(Message::Text(answer)).await.is_err() {
            return;
        }
    }
}

/// Completes when everybody has to leave.
async fn is_closing(closing: &mut watch::Receiver<bool>) {
    // An error would mean that the rooms are gone, and the server with them.
    let _ = closing.wait_for(|&closing| closing).await;
}

/// The answer to a command of the shop; `None` if it is none, or if the session is in a token: a
/// new one cannot reach the client's cookie jar from here.
async fn command(app: &App, claim: &Claim, text: &str) -> Option<Utf8Bytes> {
    if !app.store.remembers() {
        return None;
    }
    let (verb, item) = text.split_once(' ').unwrap_or((text, ""));
    if !["cart", "checkout", "add"].contains(&verb) {
        return None;
    }
    app.work().await;
    let reply = match verb {
        "cart" => routes::cart(app, claim).await,
        "checkout" => routes::purchase(app, claim).await,
        _ => routes::put(app, claim, item.to_owned()).await,
    };
    Some(match reply {
        Ok(Reply { answer, .. }) => json(&answer),
        Err(refusal) => json(&refusal),
    })
}

fn json(value: &impl Serialize) -> Utf8Bytes {
    serde_json::to_string(value).unwrap_or_default().into()
}
