use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A peer that answers the connections it accepts with these bytes, one item per request, and
/// then closes. Gives what it was asked.
async fn peer(
    connections: Vec<Vec<&'static str>>,
) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answers in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut head = vec![0; 4_096];
                let n = stream.read(&mut head).await.unwrap();
                asked.push(String::from_utf8(head[..n].to_vec()).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        asked
    });
    (address, asked)
}

#[tokio::test]
async fn cookies_come_back_and_the_connection_is_kept() {
    let (address, asked) = peer(vec![vec![
        "HTTP/1.1 200 OK\r\nset-cookie: a=1; Path=/\r\nset-cookie: b=2; Path=/cart\r\n\
         set-cookie: s=3; Secure\r\nset-cookie: d=4; Domain=other.test\r\n\
         content-length: 2\r\n\r\nhi",
        "HTTP/1.1 204 No Content\r\nset-cookie: a=; Path=/; Max-Age=0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ]])
    .await;
    let mut browser = Browser::new(address, "shop.test:8080").unwrap();
    let response = browser.post("/login", "user=ada").await.unwrap();
    assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"hi"[..]));
    assert_eq!(browser.cookie("a"), Some("1"));
    browser.get("/cart?page=2").await.unwrap();
    assert_eq!(browser.cookie("a"), None);
    browser.get("/").await.unwrap();

    let asked = asked.await.unwrap();
    assert!(asked[0].starts_with("POST /login HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].ends_with("\r\n\r\nuser=ada"), "{}", asked[0]);
    assert!(asked[0].contains("host: shop.test:8080\r\n"), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /cart?page=2 HTTP/1.1\r\n"), "{}", asked[1]);
    let cookies = ["cookie: b=2; a=1\r\n", "cookie: a=1; b=2\r\n"];
    assert!(cookies.iter().any(|cookies| asked[1].contains(cookies)), "{}", asked[1]);
    assert!(!asked[2].contains("cookie:"), "{}", asked[2]);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let (address, asked) = peer(vec![vec![OK], vec![OK], vec![OK]]).await;
    let mut browser = Browser::new(address, "shop.test").unwrap();
    browser.get("/1").await.unwrap();
    // Until the close has arrived.
    while browser.connection.as_ref().is_some_and(|c| !c.sender.is_closed()) {
        tokio::task::yield_now().await;
    }
    browser.get("/2").await.unwrap();
    browser.hang_up();
    browser.get("/3").await.unwrap();
    assert_eq!(asked.await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_error_costs_the_connection_and_nothing_else() {
    let (address, asked) = peer(vec![
        vec!["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"],
        vec!["HTTP/1.1 200 OK\r\nset-cookie: a=1\r\ncontent-length: 0\r\n\r\n"],
    ])
    .await;
    let mut browser = Browser::new(address, "shop.test").unwrap();
    let error = browser.get("/").await.unwrap_err();
    assert_eq!(error.as_str(), "body");
    browser.get("/").await.unwrap();
    assert_eq!(browser.cookie("a"), Some("1"));
    asked.await.unwrap();
    browser.hang_up();
    assert_eq!(browser.get("/").await.unwrap_err().as_str(), "connect", "nobody listens any more");
}

#[tokio::test]
async fn patience_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let browser = Browser::new(listener.local_addr().unwrap(), "shop.test").unwrap();
    let mut browser = browser.with_patience(Duration::from_millis(20));
    assert!(matches!(browser.get("/").await, Err(BrowserError::TimedOut)));
    assert!(Browser::new(listener.local_addr().unwrap(), "no host").is_err());
}
