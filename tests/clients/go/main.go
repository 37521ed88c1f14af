// Go's net/http as a program; see ../README.md.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type order struct {
	URL       string     `json:"url"`
	Parallel  int        `json:"parallel"`
	Exchanges []exchange `json:"exchanges"`
}

type exchange struct {
	Method  string            `json:"method"`
	Target  string            `json:"target"`
	Headers map[string]string `json:"headers"`
	Body    *struct {
		Size    int64 `json:"size"`
		Chunked bool  `json:"chunked"`
	} `json:"body"`
	After string `json:"after"`
}

type result struct {
	Status    int               `json:"status"`
	Version   string            `json:"version"`
	Headers   map[string]string `json:"headers"`
	Length    int64             `json:"length"`
	SHA256    string            `json:"sha256"`
	Text      *string           `json:"text"`
	Reused    bool              `json:"reused"`
	Attempts  int               `json:"attempts"`
	Interim   [][2]any          `json:"interim"`
	Continued bool              `json:"continued"`
	Early     int64             `json:"early"`
	Error     *string           `json:"error"`
}

// pattern is a body: the bytes 0 to 250, over and over.
type pattern struct {
	size  int64
	taken atomic.Int64
}

func (p *pattern) Read(into []byte) (int, error) {
	at := p.taken.Load()
	if at == p.size {
		return 0, io.EOF
	}
	if left := p.size - at; int64(len(into)) > left {
		into = into[:left]
	}
	for index := range into {
		into[index] = byte((at + int64(index)) % 251)
	}
	p.taken.Add(int64(len(into)))
	return len(into), nil
}

func flatten(headers map[string][]string) map[string]string {
	flat := map[string]string{}
	for name, values := range headers {
		flat[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return flat
}

func waitFor(path string) {
	for path != "" {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// begin is what Text is made of.
type begin struct{ bytes []byte }

func (b *begin) Write(piece []byte) (int, error) {
	if room := 4097 - len(b.bytes); room > 0 {
		b.bytes = append(b.bytes, piece[:min(room, len(piece))]...)
	}
	return len(piece), nil
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func perform(client *http.Client, url string, wanted exchange, out *result) error {
	waitFor(wanted.After)
	out.Interim = [][2]any{}
	var body *pattern
	var mutex sync.Mutex // the hooks run on the transport's goroutines
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			mutex.Lock()
			defer mutex.Unlock()
			out.Reused = info.Reused
			out.Attempts++
		},
		Got100Continue: func() {
			mutex.Lock()
			defer mutex.Unlock()
			out.Continued = true
			if body != nil {
				out.Early = body.taken.Load()
			}
		},
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			mutex.Lock()
			defer mutex.Unlock()
			if code != http.StatusContinue {
				out.Interim = append(out.Interim, [2]any{code, flatten(header)})
			}
			return nil
		},
	}
	context := httptrace.WithClientTrace(context.Background(), trace)
	request, err := http.NewRequestWithContext(context, wanted.Method, url+wanted.Target, nil)
	if err != nil {
		return err
	}
	if wanted.Body != nil {
		body = &pattern{size: wanted.Body.Size}
		request.Body = io.NopCloser(body)
		request.ContentLength = wanted.Body.Size
		if wanted.Body.Chunked {
			request.ContentLength = -1
		} else if wanted.Body.Size == 0 {
			request.Body = http.NoBody
		}
	}
	for name, value := range wanted.Headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	sum, first := sha256.New(), &begin{}
	length, err := io.Copy(io.MultiWriter(sum, first), response.Body)
	mutex.Lock()
	defer mutex.Unlock()
	if body != nil && !out.Continued {
		out.Early = body.taken.Load()
	}
	out.Status = response.StatusCode
	out.Version = fmt.Sprintf("%d.%d", response.ProtoMajor, response.ProtoMinor)
	out.Headers = flatten(response.Header)
	out.Length = length
	out.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if length <= 4096 {
		text := string(first.bytes)
		out.Text = &text
	}
	if response.Close {
		// The transport takes the header away and keeps what it said.
		out.Headers["connection"] = "close"
	}
	return err
}

func main() {
	var order order
	if err := json.NewDecoder(os.Stdin).Decode(&order); err != nil {
		panic(err)
	}
	if order.Parallel == 0 {
		order.Parallel = 1
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableCompression:  true,
			MaxIdleConnsPerHost: order.Parallel,
			// The default is to send the body after a while without an answer, which would hide that none came.
			ExpectContinueTimeout: time.Hour,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	results := make([]result, len(order.Exchanges))
	numbers := make(chan int)
	var users sync.WaitGroup
	for user := 0; user < order.Parallel; user++ {
		users.Add(1)
		go func() {
			defer users.Done()
			for number := range numbers {
				if err := perform(client, order.URL, order.Exchanges[number], &results[number]); err != nil {
					text := err.Error()
					results[number].Error = &text
				}
			}
		}()
	}
	for number := range order.Exchanges {
		numbers <- number
	}
	close(numbers)
	users.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		panic(err)
	}
}
