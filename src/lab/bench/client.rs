//! One session as a client plays it: at the times of its schedule, with a cookie jar, and with an
//! eye on its cart.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::contender::Kind;
use super::record::{Answered, Experience, Record};
use super::schedule::{Act, Session};
use crate::clock::Stopwatch;
use crate::lab::app::answer::{Answer, NO_SESSION, Refusal, STATE_METRIC, UNKNOWN_SESSION};
use crate::lab::browser::{Browser, Channel, ChannelError, Response};

/// What all sessions of a run share.
#[derive(Debug)]
pub(super) struct Stage {
    /// Runs since the load began.
    pub(super) clock: Stopwatch,
    /// What app servers they visit.
    pub(super) kind: Kind,
    pub(super) record: Record,
    /// Becomes true when everybody has to leave.
    pub(super) stop: watch::Sender<bool>,
}

/// A user with a browser and a schedule.
pub(super) struct Client {
    stage: Arc<Stage>,
    browser: Browser,
    channel: Option<Channel>,
    user: String,
    /// What must be in the cart; `None` after an error, when nobody knows.
    cart: Option<Vec<String>>,
    /// Is this the only window that changes the cart?
    knows_cart: bool,
    /// When the answer before was complete: nothing can be sent earlier.
    free_since: Duration,
    experience: Experience,
}

/// Why there is no right answer.
enum Trouble {
    /// The server does not know the session, or the cart is gone.
    Lost {
        /// Who says so, if it has a name.
        server: Option<String>,
    },
    /// Anything else, by a short name.
    Failed {
        kind: String,
        /// No app server has answered.
        is_lost: bool,
        /// Who has, if it has a name.
        server: Option<String>,
    },
}

impl Trouble {
    fn failed(kind: impl ToString, server: Option<String>) -> Self {
        Trouble::Failed { kind: kind.to_string(), is_lost: false, server }
    }

    fn unanswered(kind: impl ToString) -> Self {
        Trouble::Failed { kind: kind.to_string(), is_lost: true, server: None }
    }
}

/// A right answer, and what it cost.
struct Good {
    answer: Answer,
    bytes: usize,
    state: Option<Duration>,
}

impl Client {
    pub(super) fn new(stage: Arc<Stage>, browser: Browser, user: String) -> Self {
        let (channel, cart) = (None, None);
        let (free_since, experience) = (Duration::ZERO, Experience::default());
        let knows_cart = true;
        Client { stage, browser, channel, user, cart, knows_cart, free_since, experience }
    }

    /// The whole session; or what of it comes before everybody has to leave.
    pub(super) async fn play(mut self, session: Session) {
        let mut windows = JoinSet::new();
        let mut looks = session.windows;
        for step in &session.steps {
            if step.act == Act::CheckOut {
                self.close(&mut windows).await;
                self.free_since = self.stage.clock.elapsed();
            }
            if !self.wait_until(step.due).await {
                break;
            }
            self.step(step.due, step.act).await;
            for looks in std::mem::take(&mut looks) {
                windows.spawn(self.window().look(looks));
            }
        }
        self.close(&mut windows).await;
        self.stage.record.ended(&self.experience);
    }

    /// Another window of this browser, with its cookies and a connection of its own.
    fn window(&self) -> Client {
        let mut window = Client::new(self.stage.clone(), self.browser.window(), self.user.clone());
        // What comes into the cart in one window, another one does not know.
        window.knows_cart = false;
        window
    }

    /// Looks at the cart at these times.
    async fn look(mut self, looks: Vec<Duration>) -> Experience {
        for due in looks {
            if !self.wait_until(due).await {
                break;
            }
            self.step(due, Act::Look).await;
        }
        self.experience
    }

    /// Waits until all windows are done, and takes over what they saw.
    async fn close(&mut self, windows: &mut JoinSet<Experience>) {
        while let Some(window) = windows.join_next().await {
            let Ok(seen) = window else { continue };
            self.experience.requests += seen.requests;
            self.experience.lost |= seen.lost;
            self.experience.servers.extend(seen.servers);
        }
    }

    /// False if everybody has to leave.
    async fn wait_until(&self, due: Duration) -> bool {
        let mut stop = self.stage.stop.subscribe();
        let stopped = *stop.borrow();
        if stopped {
            return false;
        }
        let Some(time) = due.checked_sub(self.stage.clock.elapsed()) else { return true };
        tokio::select! {
            () = sleep(time) => true,
            _ = stop.wait_for(|&stop| stop) => false,
        }
    }

    /// Sends what is due. A user whose session is lost logs in again and goes on.
    async fn step(&mut self, due: Duration, act: Act) {
        let late = self.stage.clock.elapsed().saturating_sub(due.max(self.free_since));
        let outcome = self.attempt(act).await;
        let is_out = match &outcome {
            Err(Trouble::Lost { .. }) => true,
            // The log-in has failed.
            Err(Trouble::Failed { kind, .. }) => kind == NO_SESSION,
            Ok(_) => false,
        };
        self.note(due, late, outcome);
        if is_out && act != Act::LogOut {
            let now = self.stage.clock.elapsed();
            let outcome = self.attempt(Act::LogIn).await;
            self.note(now, Duration::ZERO, outcome);
        }
        if self.stage.kind == Kind::Hybrid && act != Act::LogOut {
            self.keep_channel().await;
        }
        self.free_since = self.stage.clock.elapsed();
    }

    fn note(&mut self, due: Duration, late: Duration, outcome: Result<Good, Trouble>) {
        let record = &self.stage.record;
        if !record.measures(due) {
            return;
        }
        let done = self.stage.clock.elapsed();
        self.experience.requests += 1;
        match outcome {
            Ok(Good { answer, bytes, state }) => {
                self.experience.servers.insert(answer.server);
                record.answered(Answered { due, late, done, bytes, state });
            }
            // Who refuses has answered, too.
            Err(Trouble::Lost { server }) => {
                self.experience.lost = true;
                self.experience.servers.extend(server);
                record.lost(done);
            }
            Err(Trouble::Failed { kind, is_lost, server }) => {
                self.experience.servers.extend(server);
                record.failed(&kind, is_lost, done);
            }
        }
    }

    /// Sends a request, and compares the cart in the answer with what must be there.
    async fn attempt(&mut self, act: Act) -> Result<Good, Trouble> {
        if let (Act::Add(item), Some(cart)) = (act, &mut self.cart) {
            cart.push(item.to_owned());
        }
        let result = match self.stage.kind {
            Kind::Websocket if !matches!(act, Act::LogIn | Act::LogOut) => self.say(act).await,
            _ => self.ask(act).await,
        };
        if act == Act::LogIn || act == Act::LogOut {
            // The channel was another session's.
            self.channel = None;
        }
        let good = match result {
            Ok(good) => good,
            Err(trouble) => {
                self.cart = None;
                return Err(trouble);
            }
        };
        if good.answer.user != self.user {
            self.cart = None;
            return Err(Trouble::failed("wrong_user", Some(good.answer.server)));
        }
        let is_known = self.knows_cart && act != Act::LogIn;
        let expected = self.cart.take().filter(|_| is_known);
        let is_gone = expected.is_some_and(|cart| cart != good.answer.cart);
        self.cart = Some(match act {
            Act::CheckOut => Vec::new(),
            _ => good.answer.cart.clone(),
        });
        let server = Some(good.answer.server.clone()).filter(|_| is_gone);
        if is_gone { Err(Trouble::Lost { server }) } else { Ok(good) }
    }

    /// Over HTTP.
    async fn ask(&mut self, act: Act) -> Result<Good, Trouble> {
        let response = match act {
            Act::LogIn => self.browser.post("/login", &format!("user={}", self.user)).await,
            Act::Add(item) => self.browser.post("/cart", &format!("item={item}")).await,
            Act::Look => self.browser.get("/cart").await,
            Act::CheckOut => self.browser.post("/checkout", "").await,
            Act::LogOut => self.browser.post("/logout", "").await,
        };
        read(&response.map_err(|error| Trouble::unanswered(error.as_str()))?)
    }

    /// Over the live channel, which is opened if there is none.
    async fn say(&mut self, act: Act) -> Result<Good, Trouble> {
        let mut channel = match self.channel.take() {
            Some(channel) => channel,
            None => self.open_channel().await?,
        };
        let command = match act {
            Act::Add(item) => format!("add {item}"),
            Act::CheckOut => "checkout".to_owned(),
            Act::Look | Act::LogIn | Act::LogOut => "cart".to_owned(),
        };
        match channel.ask(&command).await {
            Ok(text) => {
                self.channel = Some(channel);
                let (bytes, state) = (command.len(), None);
                let answer = judge(text.as_bytes());
                answer.map(|answer| Good { answer, bytes, state })
            }
            Err(_) => {
                if self.stage.record.measures(self.stage.clock.elapsed()) {
                    self.stage.record.cut();
                }
                Err(Trouble::unanswered("channel"))
            }
        }
    }

    async fn open_channel(&mut self) -> Result<Channel, Trouble> {
        let room = self.user.len() % 8;
        let opened = self.browser.channel(&format!("/live?room=room-{room}")).await;
        opened.map_err(|error| match error {
            ChannelError::Refused { status, body } => refused(status, &body),
            _ => Trouble::unanswered("channel"),
        })
    }

    /// Keeps a channel open besides the requests, and notices when it has broken off.
    async fn keep_channel(&mut self) {
        let known = self.channel.take();
        let was_open = known.is_some();
        let mut channel = match known {
            Some(channel) => channel,
            None => match self.open_channel().await {
                Ok(channel) => channel,
                Err(trouble) => return self.turned_away(trouble),
            },
        };
        // It says hello, so that both ends are known to be there.
        if channel.ask("hello").await.is_ok() {
            self.channel = Some(channel);
        } else if was_open && self.stage.record.measures(self.stage.clock.elapsed()) {
            self.stage.record.cut();
        }
    }

    /// There is no channel besides the requests. It is no request, but who refuses has answered.
    fn turned_away(&mut self, trouble: Trouble) {
        let now = self.stage.clock.elapsed();
        if !self.stage.record.measures(now) {
            return;
        }
        let server = match trouble {
            Trouble::Lost { server } => {
                self.experience.lost = true;
                self.stage.record.lost(now);
                server
            }
            Trouble::Failed { server, .. } => server,
        };
        self.experience.servers.extend(server);
    }
}

/// What an answer over HTTP says.
fn read(response: &Response) -> Result<Good, Trouble> {
    if !response.status.is_success() {
        return Err(refused(response.status, &response.body));
    }
    let answer = judge(&response.body)?;
    Ok(Good { answer, bytes: response.sent, state: state_time(response) })
}

/// What an answer means that does not do what was asked.
fn refused(status: StatusCode, body: &[u8]) -> Trouble {
    if status == StatusCode::UNAUTHORIZED
        && let Err(trouble) = judge(body)
    {
        return trouble;
    }
    let server = refusal(body).map(|refusal| refusal.server);
    Trouble::Failed { kind: status.as_str().to_owned(), is_lost: server.is_none(), server }
}

/// An app server's refusal, which is JSON; a gateway's is not.
fn refusal(body: &[u8]) -> Option<Refusal> {
    serde_json::from_slice(body).ok()
}

fn judge(body: &[u8]) -> Result<Answer, Trouble> {
    if let Ok(answer) = serde_json::from_slice::<Answer>(body) {
        return Ok(answer);
    }
    Err(match refusal(body) {
        Some(Refusal { error, server, .. }) if error == UNKNOWN_SESSION => {
            Trouble::Lost { server: Some(server) }
        }
        Some(Refusal { error, server, .. }) => Trouble::failed(error, Some(server)),
        None => Trouble::failed("unreadable", None),
    })
}

/// What the server says about how long the session's state took.
fn state_time(response: &Response) -> Option<Duration> {
    let timing = response.headers.get("server-timing")?.to_str().ok()?;
    let duration = timing.strip_prefix(STATE_METRIC)?.strip_prefix(";dur=")?;
    Duration::try_from_secs_f64(duration.parse::<f64>().ok()? / 1e3).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::app::{self, tests::settings};

    /// A client of an app server with a secret, and of another one that is called `app-2`.
    async fn client() -> Client {
        let kind = app::Kind::Hybrid { secret: "secret".into() };
        let settings = app::Settings { kind, ..settings("app-2") };
        let browser = Browser::new(app::spawn(settings).await, "shop.test").unwrap();
        let record = Record::new(Duration::ZERO, Duration::from_secs(3600));
        let (clock, stop) = (Stopwatch::start(), watch::Sender::new(false));
        let stage = Arc::new(Stage { clock, kind: Kind::Hybrid, record, stop });
        Client::new(stage, browser, "ada".into())
    }

    #[tokio::test]
    async fn who_refuses_a_channel_has_answered() {
        let mut client = client().await;
        client.keep_channel().await;
        assert!(client.experience.servers.contains("app-2"), "{:?}", client.experience);
        assert!(!client.experience.lost, "there was none");
        let forged = http::HeaderValue::from_static("sid=forged");
        client.browser = client.browser.another().with_header(http::header::COOKIE, forged);
        client.keep_channel().await;
        assert!(client.experience.lost, "the server does not know it");
        assert_eq!(client.experience.requests, 0, "a channel is no request");
    }

    #[tokio::test]
    async fn whoever_logs_in_gets_a_channel() {
        let mut client = client().await;
        client.step(Duration::ZERO, Act::LogIn).await;
        assert!(client.channel.is_some() && !client.experience.lost);
        assert_eq!(client.experience.requests, 1);
    }
}
