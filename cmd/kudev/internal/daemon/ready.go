package daemon

import (
	"fmt"
	"net"
	"os"
	"strings"
)

// Readiness tells whoever started the daemon that it listens: what is triggered from now on is not missed.
type Readiness struct {
	// FD is a descriptor to which a newline is written, and which is then closed; below 0 for none. It is s6's way.
	FD int
	// NotifySocket is systemd's NOTIFY_SOCKET, "" for none. See sd_notify(3).
	NotifySocket string
}

// Ready tells it.
func (r Readiness) Ready() error {
	if r.FD >= 0 {
		f := os.NewFile(uintptr(r.FD), "readiness")
		if f == nil {
			return fmt.Errorf("readiness: no descriptor %d", r.FD)
		}
		_, err := f.Write([]byte("\n"))
		f.Close()
		if err != nil {
			return fmt.Errorf("readiness on descriptor %d: %w", r.FD, err)
		}
	}
	return r.notify("READY=1\nSTATUS=Listening")
}

// Reloading and Stopping tell systemd; without it they do nothing.
func (r Readiness) Stopping() error { return r.notify("STOPPING=1") }

func (r Readiness) notify(state string) error {
	if r.NotifySocket == "" {
		return nil
	}
	name := r.NotifySocket
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify %s: %w", r.NotifySocket, err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify %s: %w", r.NotifySocket, err)
	}
	return nil
}
