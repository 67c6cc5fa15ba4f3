//! A small HTTP/1.1 server side: enough for curl to download and upload, nothing else.
//!
//! `GET /bytes/N` answers with the first N bytes of the payload of the server's seed; `PUT` or `POST /upload` with
//! the SHA-256 of what was sent, in hexadecimal.

use std::io::{self, Read, Write};

use crate::payload::{Hasher, Payload};

/// A request's head must fit into this.
const MAX_HEAD: usize = 16 * 1024;
/// Bytes of a body read at once.
const BUFFER: usize = 64 * 1024;

/// Answers requests until the client closes or asks to close. Returns how many bytes of bodies were sent.
///
/// # Errors
/// Those of the stream, and requests that are not HTTP.
pub fn serve(stream: &mut (impl Read + Write), seed: u64) -> io::Result<u64> {
    let mut connection = Connection { stream, unread: Vec::new() };
    let mut sent = 0;
    while let Some(request) = connection.request()? {
        sent += connection.answer(&request, seed)?;
        if request.close {
            break;
        }
    }
    Ok(sent)
}

/// What matters of a request.
#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    body: Body,
    expects_continue: bool,
    close: bool,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Body {
    Length(u64),
    Chunked,
}

struct Connection<'a, S> {
    stream: &'a mut S,
    /// Read from the stream, not used yet.
    unread: Vec<u8>,
}

impl<S: Read + Write> Connection<'_, S> {
    /// The next request, or `None` at the end of the stream.
    fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((request, len)) = parse(&self.unread)? {
                self.unread.drain(..len);
                return Ok(Some(request));
            }
            if self.unread.len() > MAX_HEAD {
                return Err(invalid("the request's head is too long"));
            }
            if !self.fill()? {
                return if self.unread.is_empty() { Ok(None) } else { Err(invalid("the request ends in its head")) };
            }
        }
    }

    fn answer(&mut self, request: &Request, seed: u64) -> io::Result<u64> {
        let get = request.method == "GET";
        let head = request.method == "HEAD";
        if (get || head)
            && let Some(len) = request.path.strip_prefix("/bytes/").and_then(|len| len.parse().ok())
        {
            self.head("200 OK", "application/octet-stream", len)?;
            let len = if head { 0 } else { len };
            Payload::new(seed).write_to(self.stream, len)?;
            return Ok(len);
        }
        if matches!(request.method.as_str(), "PUT" | "POST") && request.path == "/upload" {
            let digest = format!("{}\n", self.upload(request)?);
            self.head("200 OK", "text/plain", digest.len() as u64)?;
            self.stream.write_all(digest.as_bytes())?;
            return Ok(digest.len() as u64);
        }
        let text = "GET /bytes/N, or PUT /upload\n";
        self.head("404 Not Found", "text/plain", text.len() as u64)?;
        self.stream.write_all(text.as_bytes())?;
        Ok(text.len() as u64)
    }

    fn head(&mut self, status: &str, content: &str, len: u64) -> io::Result<()> {
        write!(self.stream, "HTTP/1.1 {status}\r\nContent-Type: {content}\r\nContent-Length: {len}\r\n\r\n")
    }

    fn upload(&mut self, request: &Request) -> io::Result<crate::payload::Sha256Digest> {
        // RFC 9110 section 10.1.1: the client waits for this before it sends the body.
        if request.expects_continue {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut hasher = Hasher::default();
        match request.body {
            Body::Length(len) => self.take(len, &mut hasher)?,
            Body::Chunked => self.take_chunks(&mut hasher)?,
        }
        Ok(hasher.finish())
    }

    /// Hashes the next `len` bytes.
    fn take(&mut self, len: u64, hasher: &mut Hasher) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            if self.unread.is_empty() && !self.fill()? {
                return Err(invalid("the body ends too early"));
            }
            let here = usize::try_from(left).map_or(self.unread.len(), |left| left.min(self.unread.len()));
            hasher.update(&self.unread[..here]);
            self.unread.drain(..here);
            left -= here as u64;
        }
        Ok(())
    }

    /// Hashes a body in chunks (RFC 9112 section 7.1), and reads its trailer.
    fn take_chunks(&mut self, hasher: &mut Hasher) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk without a size"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.take(size, hasher)?;
            self.line()?;
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=at).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_string());
            }
            if self.unread.len() > MAX_HEAD || !self.fill()? {
                return Err(invalid("a line without an end"));
            }
        }
    }

    /// Reads more; `false` at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        let old = self.unread.len();
        self.unread.resize(old + BUFFER, 0);
        let read = self.stream.read(&mut self.unread[old..]);
        self.unread.truncate(old + *read.as_ref().unwrap_or(&0));
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.fill(),
            read => Ok(read? > 0),
        }
    }
}

/// The request at the front of `bytes` and the length of its head, once it is whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(len) = request.parse(bytes).map_err(|error| invalid(&error.to_string()))? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
    };
    let body = match (header("transfer-encoding"), header("content-length")) {
        (Some(coding), _) if coding == "chunked" => Body::Chunked,
        (Some(_), _) => return Err(invalid("unknown transfer coding")),
        (None, Some(len)) => Body::Length(len.parse().map_err(|_| invalid("unusable Content-Length"))?),
        (None, None) => Body::Length(0),
    };
    let request = Request {
        method: request.method.unwrap_or("").into(),
        path: request.path.unwrap_or("").into(),
        body,
        expects_continue: header("expect").is_some_and(|value| value == "100-continue"),
        close: header("connection").is_some_and(|value| value == "close") || request.version == Some(0),
    };
    Ok(Some((request, len)))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A stream that gives one byte at a time and keeps what is written.
    struct Slow {
        from: Cursor<Vec<u8>>,
        to: Vec<u8>,
    }

    impl Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.from.read(&mut buf[..1])
        }
    }

    impl Write for Slow {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.to.write(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn talk(requests: &str) -> (io::Result<u64>, Vec<u8>) {
        let mut stream = Slow { from: Cursor::new(requests.into()), to: Vec::new() };
        (serve(&mut stream, 5), stream.to)
    }

    fn digest(bytes: &[u8]) -> String {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish().to_string()
    }

    #[test]
    fn a_connection_serves_several_downloads() {
        let (result, answers) = talk("GET /bytes/5 HTTP/1.1\r\n\r\nGET /bytes/3 HTTP/1.1\r\n\r\n");
        assert_eq!(result.unwrap(), 8);
        let mut payload = [0; 5];
        Payload::new(5).read_exact(&mut payload).unwrap();
        assert!(answers.ends_with(&payload[..3]));
        assert!(answers.windows(5).any(|window| window == payload));
    }

    #[test]
    fn an_upload_is_hashed_with_either_framing() {
        let plain = talk("PUT /upload HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
        let chunked =
            talk("POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
        for (result, answer) in [plain, chunked] {
            result.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.ends_with(&format!("{}\n", digest(b"hello"))), "{answer}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert!(talk("\u{1}\u{2}\u{3} nonsense\r\n\r\n").0.is_err());
        assert!(talk("PUT /upload HTTP/1.1\r\nContent-Length: 50\r\n\r\nshort").0.is_err());
        assert!(talk("GET /bytes/1 HTT").0.is_err());
        assert!(talk("PUT /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").0.is_err());
        let (result, answer) = talk("GET /nothing HTTP/1.1\r\n\r\n");
        assert!(result.is_ok() && answer.starts_with(b"HTTP/1.1 404"));
    }
}
