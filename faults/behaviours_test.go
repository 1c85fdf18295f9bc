//go:build faults

package faults

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"time"
)

// behaviour is what the receiver does to a request.
type behaviour func(x *exchange)

// answer answers with a status. One that is not 2xx refuses the delivery.
func answer(status int) behaviour {
	return func(x *exchange) {
		if x.read() {
			x.answer(status)
		}
	}
}

// answer notes the status before it is written, so that no answer reaches the sender that is not on record.
func (x *exchange) answer(status int) {
	gone := x.request.Context().Err() != nil
	x.receiver.update(func() {
		if gone {
			ours := x.server != x.receiver.server // the receiver itself went down
			x.arrival.cut, x.arrival.refused = !ours, ours
			return
		}
		x.arrival.status, x.arrival.refused = status, status/100 != 2
	})
	if !gone {
		x.w.WriteHeader(status)
	}
}

// slow answers 200 after a delay.
func slow(delay time.Duration) behaviour {
	return func(x *exchange) {
		if !x.read() {
			return
		}
		select {
		case <-time.After(delay):
		case <-x.request.Context().Done():
		}
		x.answer(http.StatusOK)
	}
}

// hold lets the sender wait until release is closed, and answers 200 then.
func hold(release <-chan struct{}) behaviour {
	return func(x *exchange) {
		if !x.read() {
			return
		}
		select {
		case <-release:
		case <-x.request.Context().Done():
		}
		x.answer(http.StatusOK)
	}
}

// firstThen behaves in one way to the first request of each delivery and in another to later ones.
func firstThen(first, later behaviour) behaviour {
	return func(x *exchange) {
		if x.receiver.count(func(a *arrival) bool { return a.id == x.arrival.id }) == 1 {
			first(x)
		} else {
			later(x)
		}
	}
}

// refuse notes that the delivery is not taken, and takes the connection over.
func (x *exchange) refuse() (net.Conn, *bufio.ReadWriter) {
	x.receiver.update(func() { x.arrival.refused = true })
	return x.hijack()
}

func (x *exchange) hijack() (net.Conn, *bufio.ReadWriter) {
	conn, buffered, err := x.w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the connection has ended
	}
	return conn, buffered
}

// reset closes a connection so that the other side gets a reset.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// closeAfterHeaders closes the connection when the headers have been read.
func closeAfterHeaders(x *exchange) {
	conn, _ := x.refuse()
	_ = conn.Close()
}

// resetInRequest resets the connection in the middle of the request's body.
func resetInRequest(x *exchange) {
	conn, buffered := x.refuse()
	_, _ = buffered.ReadByte()
	reset(conn)
}

// resetInAnswer resets the connection in the middle of a 200's body. The status is the partner's word.
func resetInAnswer(x *exchange) {
	if !x.read() {
		return
	}
	x.receiver.update(func() { x.arrival.status = http.StatusOK })
	conn, buffered := x.hijack()
	_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it")
	_ = buffered.Flush()
	time.Sleep(20 * time.Millisecond) // a reset overtakes what was sent
	reset(conn)
}

// drip sends an answer one byte a second.
func drip(x *exchange) {
	if !x.read() {
		return
	}
	conn, _ := x.refuse()
	defer func() { _ = conn.Close() }()
	for _, c := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
		if _, err := conn.Write([]byte{c}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// huge answers 200 with a body of 64 MiB.
func huge(x *exchange) {
	if !x.read() {
		return
	}
	const size = 64 << 20
	x.receiver.update(func() { x.arrival.status = http.StatusOK })
	x.w.Header().Set("Content-Length", strconv.Itoa(size))
	chunk := make([]byte, 64<<10)
	for range size / len(chunk) {
		if _, err := x.w.Write(chunk); err != nil {
			return
		}
	}
}

// garbage answers with what is not HTTP.
func garbage(x *exchange) {
	if !x.read() {
		return
	}
	conn, _ := x.refuse()
	_, _ = conn.Write([]byte("\x00\x01 this is not HTTP\r\n\r\n"))
	_ = conn.Close()
}
