package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/kudev/kudev/cmd/kudev/internal/json"
)

// The daemon's own control socket is a stream socket, RunDir/control, for root alone. A client sends one Request as a
// line of JSON, and reads Replies, a line each, until the one that is Done. Closing the connection takes the request back.

// SocketName is the control socket below the directory that stands for /run.
const SocketName = "kudev/control"

// Request is what a client asks for.
type Request struct {
	// Do is status, settle, coldplug, journal (what there is), watch (that and what comes), reload, stop, start, exit,
	// loglevel, env or ping.
	Do      string `json:"do"`
	Timeout Micros `json:"timeout_us,omitempty"` // of settle and coldplug; 0 takes the configured one, below 0 none
	WaitFor string `json:"wait_for,omitempty"`   // a link or node below /dev, or a device: return with the event that makes it
	After   uint64 `json:"after,omitempty"`      // of journal and watch: entries behind this number
	New     bool   `json:"new,omitempty"`        // of watch: only what comes
	Arg     string `json:"arg,omitempty"`        // of loglevel and env
	UUID    string `json:"uuid,omitempty"`       // of settle: only the events that were triggered with it
}

// Reply is one line of the answer.
type Reply struct {
	Entry   *Entry   `json:"entry,omitempty"`
	Status  *Status  `json:"status,omitempty"`
	Account *Account `json:"account,omitempty"`
	Error   string   `json:"error,omitempty"`
	Done    bool     `json:"done,omitempty"`
}

// Account is what a settle or a coldplug did, waited for and found.
type Account struct {
	Triggered int         `json:"triggered,omitempty"` // devices announced again
	Vanished  int         `json:"vanished,omitempty"`  // gone before they could be
	Events    uint64      `json:"events"`              // handled meanwhile
	Modules   int         `json:"modules_loaded"`
	Took      Micros      `json:"took_us"`
	Kernel    Micros      `json:"waited_for_kernel_us"` // with nothing else to do
	Waited    []WaitedFor `json:"waited_for,omitempty"` // the witnesses of unfinished kernel work
	GivenUp   []string    `json:"given_up,omitempty"`   // witnesses that outlasted the kernel's own limits
	Failed    []string    `json:"failed,omitempty"`     // loads that failed, devices that the kernel refused to announce, and records that could not be written
	Pending   []string    `json:"pending,omitempty"`    // at the limit: what was not done
	NoModule  []string    `json:"no_module,omitempty"`  // modaliases for which there is no module
	Found     string      `json:"found,omitempty"`      // the device that made what was waited for
	FoundTook Micros      `json:"found_took_us,omitempty"`
	FirstDisk Micros      `json:"first_disk_us,omitempty"` // from the start to the first disk's event being through
}

// WaitedFor is one witness and for how long it was the only thing waited for.
type WaitedFor struct {
	What string `json:"what"`
	Took Micros `json:"took_us"`
}

// Err returns why the account is not one of success, or nil.
func (a *Account) Err() error {
	switch {
	case len(a.Pending) > 0:
		return fmt.Errorf("not done after %v: %s", a.Took.Duration().Round(time.Millisecond), join(a.Pending))
	case len(a.Failed) > 0:
		return fmt.Errorf("failed: %s", join(a.Failed))
	}
	return nil
}

func join(list []string) string {
	const most = 12
	s := ""
	for i, e := range list {
		if i == most {
			return s + fmt.Sprintf(" and %d more", len(list)-most)
		}
		if i > 0 {
			s += ", "
		}
		s += e
	}
	return s
}

// ErrNoDaemon is the error of [Dial] when nobody listens.
var ErrNoDaemon = errors.New("no kudev daemon runs")

// Conn is a client's connection to the daemon. One goroutine uses it at a time.
type Conn struct {
	c net.Conn
	r *bufio.Reader
}

// Dial connects to the daemon whose socket is below run.
func Dial(run string) (*Conn, error) {
	c, err := dialUnix("unix", socketPath(run))
	if err != nil {
		return nil, notConnected(err)
	}
	return &Conn{c: c, r: bufio.NewReader(c)}, nil
}

// dialUnix connects to a socket's file. net.Dial would link the resolver of host names into the program, a sixteenth of it.
func dialUnix(network, path string) (*net.UnixConn, error) {
	return net.DialUnix(network, nil, &net.UnixAddr{Name: path, Net: network})
}

// notConnected is why nobody answers: nobody is there, or nobody for this user.
func notConnected(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("only root may speak to the daemon: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrNoDaemon, err)
}

func socketPath(run string) string {
	if run == "" {
		run = "/run"
	}
	return run + "/" + SocketName
}

// Send sends a request. The replies are read with [Conn.Receive].
func (c *Conn) Send(req Request) error {
	if err := json.Write(c.c, req); err != nil {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	return nil
}

// Receive reads one reply. An error that the daemon reports is the error.
func (c *Conn) Receive() (*Reply, error) {
	line, err := c.r.ReadBytes('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the daemon ended")
		}
		return nil, fmt.Errorf("hear the daemon: %w", err)
	}
	var r Reply
	if err := json.Read(line, &r); err != nil {
		return nil, fmt.Errorf("hear the daemon: %w", err)
	}
	if r.Error != "" {
		return &r, errors.New(r.Error)
	}
	return &r, nil
}

// Ask sends a request and returns the reply that ends the answer.
func (c *Conn) Ask(req Request) (*Reply, error) {
	if err := c.Send(req); err != nil {
		return nil, err
	}
	for {
		r, err := c.Receive()
		if err != nil || r.Done {
			return r, err
		}
	}
}

// Close ends the connection, and what was asked for with it.
func (c *Conn) Close() error { return c.c.Close() }
