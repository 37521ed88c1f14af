// A crowd of users who ask one server for the same thing, over and over, until it refuses connections; see
// ../../README.md. It sends the server TERM in the midst of that, and says what became of every request.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type order struct {
	Network string `json:"network"`
	Address string `json:"address"`
	// Users who keep their connections, and users who make one for each request.
	Keeping int `json:"keeping"`
	Single  int `json:"single"`
	// Whom to send TERM, after so many responses; 0: nobody, and the crowd goes home after so many.
	Process int    `json:"process"`
	Warm    int64  `json:"warm"`
	Target  string `json:"target"`
	// What every response must be.
	Length int64 `json:"length"`
	// Time that a user takes between two requests, at most, in milliseconds.
	Pause    int `json:"pause"`
	Patience int `json:"patience"`
}

type report struct {
	Responses   int64            `json:"responses"`
	AfterTerm   int64            `json:"after_term"`
	Connections int64            `json:"connections"`
	Retries     int64            `json:"retries"`
	Refused     int64            `json:"refused"`
	Early       int64            `json:"early"`
	Closes      int64            `json:"closes"`
	Errors      map[string]int64 `json:"errors"`
	Details     []string         `json:"details"`
	Seconds     float64          `json:"seconds"`
}

type crowd struct {
	order       order
	responses   atomic.Int64
	afterTerm   atomic.Int64
	connections atomic.Int64
	retries     atomic.Int64
	closes      atomic.Int64
	terminated  atomic.Bool
	home        atomic.Bool
	once        sync.Once

	lock    sync.Mutex
	refused []time.Time
	last    time.Time
	errors  map[string]int64
	lost    int
	details []string
}

// hopeless is how many lost requests end it all.
const hopeless = 5000

// errRefused ends a user: there is no server any more.
var errRefused = errors.New("refused")

func (c *crowd) failed(kind string, err error, where string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.errors[kind]++
	c.lost++
	if c.lost >= hopeless {
		c.home.Store(true)
	}
	if len(c.details) < 20 {
		c.details = append(c.details, fmt.Sprintf("%s: %s: %v (after TERM: %v)", kind, where, err, c.terminated.Load()))
	}
}

func kindOf(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "eof"
	}
	return "other"
}

// counted knows whether any byte has come.
type counted struct {
	net.Conn
	bytes int64
}

func (c *counted) Read(into []byte) (int, error) {
	count, err := c.Conn.Read(into)
	c.bytes += int64(count)
	return count, err
}

type connection struct {
	socket *counted
	reader *bufio.Reader
	used   bool
}

func (c *crowd) dial() (*connection, error) {
	began := time.Now()
	socket, err := net.DialTimeout(c.order.Network, c.order.Address, c.patience())
	if err != nil {
		if kindOf(err) != "refused" {
			c.failed("connect", err, "dial")
			return nil, err
		}
		c.lock.Lock()
		c.refused = append(c.refused, time.Now())
		c.lock.Unlock()
		return nil, errRefused
	}
	c.connections.Add(1)
	c.lock.Lock()
	if began.After(c.last) {
		c.last = began
	}
	c.lock.Unlock()
	wrapped := &counted{Conn: socket}
	return &connection{socket: wrapped, reader: bufio.NewReaderSize(wrapped, 16*1024)}, nil
}

func (c *crowd) patience() time.Duration {
	return time.Duration(c.order.Patience) * time.Second
}

// ask makes one request; whether the connection may carry another one.
func (c *crowd) ask(on *connection, request []byte) (bool, error) {
	on.socket.bytes = 0
	_ = on.socket.SetDeadline(time.Now().Add(c.patience()))
	if _, err := on.socket.Write(request); err != nil {
		return false, err
	}
	response, err := http.ReadResponse(on.reader, nil)
	if err != nil {
		return false, err
	}
	count, err := io.Copy(io.Discard, response.Body)
	if err != nil {
		return false, fmt.Errorf("after %d bytes of the body: %w", count, err)
	}
	if response.StatusCode != http.StatusOK || count != c.order.Length {
		return false, fmt.Errorf("status %d, %d bytes", response.StatusCode, count)
	}
	if response.Close && c.terminated.Load() {
		c.closes.Add(1)
	}
	return !response.Close, nil
}

// user is one of the crowd.
func (c *crowd) user(keeps bool) {
	end := "close"
	if keeps {
		end = "keep-alive"
	}
	request := []byte("GET " + c.order.Target + " HTTP/1.1\r\nHost: crowd\r\nConnection: " + end + "\r\n\r\n")
	var held *connection
	drop := func() {
		if held != nil {
			_ = held.socket.Close()
			held = nil
		}
	}
	defer drop()
	for retried := false; !c.home.Load(); {
		if held == nil {
			made, err := c.dial()
			if err != nil {
				return
			}
			held = made
		}
		again, err := c.ask(held, request)
		if err != nil {
			// RFC 9112 §9.3.1: the server may close an idle connection at any time; one more try is the client's.
			lost := held.used && held.socket.bytes == 0 && kindOf(err) != "timeout"
			if lost && !retried {
				retried = true
				c.retries.Add(1)
				drop()
				continue
			}
			kind := kindOf(err)
			if kind == "other" || (kind == "eof" && held.socket.bytes > 0) {
				kind = "truncated or wrong"
			}
			c.failed(kind, err, fmt.Sprintf("used before: %v, bytes: %d, keeps: %v", held.used, held.socket.bytes, keeps))
			drop()
			retried = false
			continue
		}
		retried = false
		held.used = true
		c.answered()
		if !again || !keeps {
			drop()
		}
		if c.order.Pause > 0 {
			time.Sleep(time.Duration(rand.Int63n(int64(c.order.Pause) * int64(time.Millisecond))))
		}
	}
}

func (c *crowd) answered() {
	count := c.responses.Add(1)
	if c.terminated.Load() {
		c.afterTerm.Add(1)
	}
	if count < c.order.Warm {
		return
	}
	c.once.Do(func() {
		if c.order.Process == 0 {
			c.home.Store(true)
			return
		}
		c.terminated.Store(true)
		if err := syscall.Kill(c.order.Process, syscall.SIGTERM); err != nil {
			c.failed("kill", err, "TERM")
			c.home.Store(true)
		}
	})
}

func (c *crowd) report(began time.Time) report {
	early := int64(0)
	for _, at := range c.refused {
		if !c.terminated.Load() || c.last.After(at) {
			early++
		}
	}
	return report{
		Responses: c.responses.Load(), AfterTerm: c.afterTerm.Load(), Connections: c.connections.Load(),
		Retries: c.retries.Load(), Refused: int64(len(c.refused)), Early: early, Closes: c.closes.Load(),
		Errors: c.errors, Details: c.details, Seconds: time.Since(began).Seconds(),
	}
}

func main() {
	c := &crowd{errors: map[string]int64{}, details: []string{}}
	if err := json.NewDecoder(os.Stdin).Decode(&c.order); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	began := time.Now()
	var users sync.WaitGroup
	for number := 0; number < c.order.Keeping+c.order.Single; number++ {
		users.Add(1)
		go func(keeps bool) {
			defer users.Done()
			c.user(keeps)
		}(number < c.order.Keeping)
	}
	users.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(c.report(began)); err != nil {
		os.Exit(2)
	}
}
