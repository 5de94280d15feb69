package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// Client talks to one node. It may be used by many goroutines.
type Client struct {
	base  string
	token string
	where string // for errors
	http  *http.Client
}

// NewClient returns a client for the node of directory dir, over its Unix socket.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialUnix(ctx, dir) }
	return &Client{base: "http://node", where: dir, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}}
}

// NewRemoteClient returns a client for a node's TCP address, with its token.
func NewRemoteClient(addr, token string) *Client {
	return &Client{base: "http://" + addr, token: token, where: addr, http: &http.Client{}}
}

// Call sends in (nil: no body) and decodes the answer into out (nil: ignored).
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	return c.Upload(ctx, method, path, body, out)
}

// Get is Call without a body, and returns the note that came with the answer, "" for none.
func (c *Client) Get(ctx context.Context, path string, out any) (note string, err error) {
	res, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	return res.Header.Get(noteHeader), c.decode(ctx, res, out)
}

// Upload is Call with a body of raw bytes.
func (c *Client) Upload(ctx context.Context, method, path string, body io.Reader, out any) error {
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	return c.decode(ctx, res, out)
}

func (c *Client) decode(ctx context.Context, res *http.Response, out any) error {
	defer res.Body.Close()
	var err error
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return c.broken(ctx, err)
	}
	return nil
}

// Stream sends in (a value for JSON, or an io.Reader) and gives each event to on, until the
// "result" event, which is decoded into out (nil: ignored), or the "error" event, which is returned.
func (c *Client) Stream(ctx context.Context, method, path string, in, out any, on func(Event)) error {
	body, ok := in.(io.Reader)
	if !ok && in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	dec := json.NewDecoder(bufio.NewReaderSize(res.Body, 64<<10))
	for {
		var e Event
		if err := dec.Decode(&e); err != nil {
			return c.broken(ctx, err)
		}
		switch e.Type {
		case "error":
			return e.Error.err()
		case "result":
			if out == nil {
				return nil
			}
			return json.Unmarshal(e.Result, out)
		}
		if on != nil {
			on(e)
		}
	}
}

// Raw copies the body of an answer to w as it arrives.
func (c *Client) Raw(ctx context.Context, path string, w io.Writer) error {
	res, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(w, res.Body)
	return c.broken(ctx, err)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/v1/"+path, body)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		var e struct {
			Error *Error `json:"error"`
		}
		if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&e) == nil && e.Error != nil {
			return nil, e.Error.err()
		}
		return nil, shoal.E(shoal.Internal, method+" /v1/"+path, "the node answered "+res.Status, "see the node's log")
	}
	return res, nil
}

// broken explains why no whole answer came.
func (c *Client) broken(ctx context.Context, err error) error {
	var op *net.OpError
	var told *shoal.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &shoal.Error{
			Kind: shoal.Timeout, What: "waiting for the node", Why: "the deadline passed",
			Try: "give it longer with --timeout, or see 'shoal doctor'", Err: ctx.Err(),
		}
	case ctx.Err() != nil:
		return &shoal.Error{
			Kind: shoal.Canceled, What: "waiting for the node", Why: "the caller gave up",
			Try: "see 'shoal task ls' for what goes on without you", Err: ctx.Err(),
		}
	case errors.As(err, &told):
		return told
	case errors.As(err, &op) && op.Op == "dial":
		return &shoal.Error{
			Kind: shoal.Unavailable, What: "node at " + c.where, Why: "it cannot be reached: " + op.Err.Error(),
			Try: "see that it runs with 'shoal up --api', and that --node names its API address", Err: err,
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "connection reset"):
		return &shoal.Error{
			Kind: shoal.Unavailable, What: "node in " + c.where, Why: "it stopped before it had answered",
			Try: "look at its log, then try again", Err: err,
		}
	}
	return &shoal.Error{Kind: shoal.Internal, What: "node in " + c.where, Why: err.Error(), Try: "look at its log", Err: err}
}

// Path joins the parts of a call's path. A part may hold any character: the tasks of a job are named
// JOB/0, JOB/1, and so on.
func Path(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = url.PathEscape(p)
	}
	return strings.Join(escaped, "/")
}

// Query builds "path?k=v&..." from pairs; empty values are left out.
func Query(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
