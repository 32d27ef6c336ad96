use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::StatusCode;
use tokio::net::TcpListener;

use super::*;

/// What a faulty shop does with a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// An error page, and no effect.
    Error,
    /// An error page, although the request had its effect.
    ErrorAfterEffect,
    /// Somebody else's page.
    SomebodyElses,
}

/// A shop for one user, which has a fault at requests of these numbers, counted from 1.
struct Shop {
    faults: Vec<(u64, Fault)>,
    cart: Vec<String>,
    requests: u64,
}

impl Shop {
    fn serve(&mut self, form: &str) -> Response {
        self.requests += 1;
        let fault = self.faults.iter().find(|(n, _)| *n == self.requests).map(|&(_, fault)| fault);
        if let Some(item) = form.strip_prefix("item=")
            && fault != Some(Fault::Error)
        {
            self.cart.push(item.to_owned());
        }
        if matches!(fault, Some(Fault::Error | Fault::ErrorAfterEffect)) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let user = if fault == Some(Fault::SomebodyElses) { "user-2" } else { "user-1" };
        let (server, user) = ("app-1".to_owned(), user.to_owned());
        Json(Answer { server, user, cart: self.cart.clone(), requests: self.requests })
            .into_response()
    }
}

/// One user visits a shop that has these faults.
async fn visit(faults: &[(u64, Fault)]) -> Journal {
    let shop = Shop { faults: faults.to_vec(), cart: Vec::new(), requests: 0 };
    let shop = Arc::new(Mutex::new(shop));
    let serve = move |form: String| async move { shop.lock().unwrap().serve(&form) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let browser = Browser::new(listener.local_addr().unwrap(), "shop.test").unwrap();
    tokio::spawn(axum::serve(listener, Router::new().fallback(serve)).into_future());

    let habits = Habits { think: Delay::NONE, name_in: None };
    let journal = Arc::new(Mutex::new(Journal::default()));
    let (_going_on, stop) = watch::channel(false);
    Shopper::new(1, 1, browser, &habits, stop, journal.clone()).visit().await;
    let journal = journal.lock().unwrap();
    journal.clone()
}

#[tokio::test]
async fn after_an_error_page_the_user_reloads_and_goes_on() {
    for fault in [Fault::Error, Fault::ErrorAfterEffect] {
        let journal = visit(&[(2, fault), (3, Fault::Error)]).await;
        assert_eq!(journal.ended(Ending::Completed), 1, "{journal:?}");
        assert_eq!(journal.errors()["503"], 2);
    }
}

#[tokio::test]
async fn a_user_gives_up_after_a_few_errors() {
    let journal = visit(&[2, 3, 4, 5].map(|n| (n, Fault::Error))).await;
    assert_eq!((journal.ended(Ending::Failed), journal.error_count()), (1, 4), "{journal:?}");
}

#[tokio::test]
async fn somebody_elses_page_is_noticed() {
    let journal = visit(&[(3, Fault::SomebodyElses)]).await;
    assert_eq!(journal.errors()["wrong_user"], 1);
}
