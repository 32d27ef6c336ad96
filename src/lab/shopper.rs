//! One session: log in, fill a cart, look at it, check out, log out, with time to think in between.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderName;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use tokio::sync::watch;
use tokio::time::sleep;

use super::app::answer::{Answer, Refusal, UNKNOWN_SESSION};
use super::browser::{Browser, Response};
use super::delay::Delay;
use super::journal::{Ending, Journal, Journey};

const GOODS: [&str; 8] = ["tea", "cup", "lamp", "chair", "book", "pen", "clock", "kite"];

/// Half of the shoppers want no more items than this.
const TYPICAL_ITEMS: f64 = 8.0;
/// Nobody wants more than this, which fits into a cart.
const MOST_ITEMS: u64 = 50;
/// How often a user reloads after an error before giving up.
const RELOADS: u32 = 3;
/// How often a browser has closed its connection when the user comes back from thinking. A session
/// is not a connection.
const HANG_UP: f64 = 0.2;

/// How shoppers behave.
#[derive(Clone, Debug)]
pub struct Habits {
    /// How long they think between two requests.
    pub think: Delay,
    /// A header field in which each of their requests carries the user's name, if any.
    pub name_in: Option<HeaderName>,
}

/// A user with a browser and a purpose.
pub(super) struct Shopper {
    browser: Browser,
    think: Delay,
    rng: StdRng,
    /// Becomes true when everybody has to leave.
    stop: watch::Receiver<bool>,
    journal: Arc<Mutex<Journal>>,
    journey: Journey,
}

/// Why a click did not bring the page.
enum Trouble {
    /// The server does not know the session.
    Lost,
    /// Anything else; it has been counted.
    Error,
}

impl From<Trouble> for Ending {
    /// What becomes of a user who does not try again.
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost => Ending::Lost,
            Trouble::Error => Ending::Failed,
        }
    }
}

/// What a user clicks on.
enum Click {
    Get(&'static str),
    Post(&'static str, String),
}

impl Shopper {
    /// Shopper `number`, who behaves the same whenever `seed` is the same.
    pub(super) fn new(
        number: u64,
        seed: u64,
        browser: Browser,
        habits: &Habits,
        stop: watch::Receiver<bool>,
        journal: Arc<Mutex<Journal>>,
    ) -> Self {
        let journey = Journey::new(number);
        let browser = match (&habits.name_in, journey.user().parse()) {
            (Some(field), Ok(user)) => browser.with_header(field.clone(), user),
            _ => browser,
        };
        let rng = StdRng::seed_from_u64(seed.wrapping_add(number));
        Shopper { browser, think: habits.think, rng, stop, journal, journey }
    }

    /// The whole session, from its arrival on.
    pub(super) async fn visit(mut self) {
        if self.pause().await.is_err() {
            return;
        }
        self.note(Journal::begin);
        let ending = self.shop().await;
        self.journey.ending = ending.err().unwrap_or(Ending::Completed);
        let journal = self.journal;
        journal.lock().unwrap_or_else(PoisonError::into_inner).end(self.journey);
    }

    async fn shop(&mut self) -> Result<(), Ending> {
        let login = Click::Post("/login", format!("user={}", self.journey.user()));
        let mut cart = self.click(login, &[]).await?;
        for _ in 0..self.wanted_items() {
            self.pause().await?;
            let item = GOODS.choose(&mut self.rng).copied().unwrap_or_default();
            cart.push(item.to_owned());
            cart = self.click(Click::Post("/cart", format!("item={item}")), &cart).await?;
            if self.rng.random_bool(0.5) {
                self.pause().await?;
                cart = self.click(Click::Get("/cart"), &cart).await?;
            }
        }
        self.pause().await?;
        self.click(Click::Post("/checkout", String::new()), &cart).await?;
        self.request(&Click::Post("/logout", String::new())).await?;
        Ok(())
    }

    /// Log-normal, like the lengths of real sessions: most are short, few are very long.
    fn wanted_items(&mut self) -> u64 {
        let normal: f64 = StandardNormal.sample(&mut self.rng);
        ((TYPICAL_ITEMS * (0.7 * normal).exp()) as u64).clamp(1, MOST_ITEMS)
    }

    /// Thinks; or leaves, if everybody has to.
    async fn pause(&mut self) -> Result<(), Ending> {
        let time = self.think.sample(&mut self.rng);
        tokio::select! {
            () = sleep(time) => {}
            _ = self.stop.wait_for(|&stop| stop) => return Err(Ending::Stopped),
        }
        if self.rng.random_bool(HANG_UP) {
            self.browser.hang_up();
        }
        Ok(())
    }

    /// Clicks, expects this cart in the answer, and gives the cart that is there.
    async fn click(&mut self, click: Click, expected: &[String]) -> Result<Vec<String>, Ending> {
        match self.request(&click).await {
            Ok(answer) if answer.cart == expected => Ok(answer.cart),
            Ok(_) => {
                self.note(|journal| journal.error("wrong_cart"));
                Err(Ending::Failed)
            }
            Err(Trouble::Lost) => Err(Ending::Lost),
            Err(Trouble::Error) => self.reload().await,
        }
    }

    /// After an error nobody knows whether the click had its effect, so the user looks at the cart
    /// and goes on with what is there.
    async fn reload(&mut self) -> Result<Vec<String>, Ending> {
        for _ in 0..RELOADS {
            self.pause().await?;
            match self.request(&Click::Get("/cart")).await {
                Ok(answer) => return Ok(answer.cart),
                Err(Trouble::Lost) => return Err(Ending::Lost),
                Err(Trouble::Error) => {}
            }
        }
        Err(Ending::Failed)
    }

    async fn request(&mut self, click: &Click) -> Result<Answer, Trouble> {
        let response = match click {
            Click::Get(path) => self.browser.get(path).await,
            Click::Post(path, form) => self.browser.post(path, form).await,
        };
        let response = response.map_err(|error| {
            self.note(|journal| journal.error(error.as_str()));
            Trouble::Error
        })?;
        self.note(|journal| journal.answered(response.latency));
        self.read(&response)
    }

    /// What the answer says, and whether it is meant for this user.
    fn read(&mut self, response: &Response) -> Result<Answer, Trouble> {
        let mut wrong = response.status.as_str();
        if let Ok(answer) = serde_json::from_slice::<Answer>(&response.body) {
            self.journey.meet(&answer.server);
            if response.status.is_success() && answer.user == self.journey.user() {
                return Ok(answer);
            }
            wrong = "wrong_user";
        } else if let Ok(refusal) = serde_json::from_slice::<Refusal>(&response.body) {
            self.journey.meet(&refusal.server);
            if refusal.error == UNKNOWN_SESSION {
                return Err(Trouble::Lost);
            }
        }
        self.note(|journal| journal.error(wrong));
        Err(Trouble::Error)
    }

    fn note(&self, what: impl FnOnce(&mut Journal)) {
        what(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests;
