package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// udev's own control socket, for its udevadm and for whoever speaks its protocol.
// Format: systemd, src/udev/udev-ctrl.c: {char version[16]; u32 magic; u32 type; union {int; char[256]}}, SEQPACKET.

// UdevSocketName is udev's control socket below the directory that stands for /run.
const UdevSocketName = "udev/control"

const (
	udevMagic   = 0xdead1dea
	udevMessage = 16 + 4 + 4 + 256
)

// UdevVerb is the type of a message to udev's control socket.
type UdevVerb uint32

const (
	UdevEnd UdevVerb = iota
	UdevLogLevel
	UdevStop
	UdevStart
	UdevReload
	UdevEnv
	UdevChildrenMax
	UdevPing
	UdevExit
)

// appendUdevMessage appends one message: version is what udev's own says, "udev-" and a number.
func appendUdevMessage(b []byte, verb UdevVerb, n int32, text string) []byte {
	var m [udevMessage]byte
	copy(m[:15], "udev-257")
	binary.NativeEndian.PutUint32(m[16:], udevMagic)
	binary.NativeEndian.PutUint32(m[20:], uint32(verb))
	if verb == UdevEnv {
		copy(m[24:24+255], text)
	} else {
		binary.NativeEndian.PutUint32(m[24:], uint32(n))
	}
	return append(b, m[:]...)
}

// parseUdevMessage reads one message. Older udevs pad it to another length.
func parseUdevMessage(b []byte) (verb UdevVerb, n int32, text string, err error) {
	if len(b) < 28 {
		return 0, 0, "", fmt.Errorf("udev control: a message of %d bytes", len(b))
	}
	if m := binary.NativeEndian.Uint32(b[16:]); m != udevMagic {
		return 0, 0, "", fmt.Errorf("udev control: wrong magic %#x", m)
	}
	verb = UdevVerb(binary.NativeEndian.Uint32(b[20:]))
	n = int32(binary.NativeEndian.Uint32(b[24:]))
	rest := b[24:]
	if i := bytes.IndexByte(rest, 0); i >= 0 {
		rest = rest[:i]
	}
	return verb, n, string(rest), nil
}

func udevSocketPath(run string) string {
	if run == "" {
		run = "/run"
	}
	return run + "/" + UdevSocketName
}

// listenUdevControl makes udev's control socket. One that is served, by a udevd that runs, is left alone.
func listenUdevControl(run string) (*net.UnixListener, error) {
	path := udevSocketPath(run)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("udev's control socket: %w", err)
	}
	if c, err := dialUnix("unixpacket", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("udev's control socket: another program serves %s", path)
	}
	os.Remove(path)
	old := unix.Umask(0o177)
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("udev's control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// serveUdevControl accepts udevadm's connections until ctx ends.
func (d *Daemon) serveUdevControl(ctx context.Context, l *net.UnixListener) {
	d.accept(ctx, l, "udev's control socket", d.serveUdevClient)
}

// serveUdevClient obeys one connection. The client waits for its end, so it is closed when all is obeyed.
func (d *Daemon) serveUdevClient(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	if uid, err := peerUID(c); err != nil || uid != 0 && int(uid) != os.Geteuid() {
		return
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	c.SetReadDeadline(d.idleUntil())
	buf := make([]byte, 1024)
	for {
		n, err := c.Read(buf)
		if err != nil || n == 0 {
			return
		}
		verb, arg, text, err := parseUdevMessage(buf[:n])
		if err != nil {
			d.log.Warn(err.Error())
			return
		}
		switch verb {
		case UdevEnd:
			return
		case UdevLogLevel:
			err = d.setLogLevel(fmt.Sprint(arg))
		case UdevStop:
			d.setStopped(true)
		case UdevStart:
			d.setStopped(false)
		case UdevReload:
			err = d.Reload(ctx)
		case UdevEnv:
			err = d.setEnv(text)
		case UdevChildrenMax:
			// The queue's width is set at the start: goroutines cost what a process does not.
		case UdevPing:
			// The answer is the connection's end: whatever the kernel had sent before is in the queue by then.
			err = d.passMarker(ctx)
		case UdevExit:
			d.Exit()
		}
		if err != nil {
			d.log.Warn("udev control: "+err.Error(), "verb", verb)
		}
	}
}

// UdevControl sends one message to whoever serves udev's control socket, and waits until it is obeyed.
func UdevControl(ctx context.Context, run string, verb UdevVerb, n int32, text string) error {
	c, err := new(net.Dialer).DialUnix(ctx, "unixpacket", nil, &net.UnixAddr{Name: udevSocketPath(run), Net: "unixpacket"})
	if err != nil {
		return notConnected(err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if verb == UdevEnv && !strings.Contains(text, "=") {
		return fmt.Errorf("set %q: it is KEY=VALUE", text)
	}
	for _, m := range [][]byte{appendUdevMessage(nil, verb, n, text), appendUdevMessage(nil, UdevEnd, 0, "")} {
		if _, err := c.Write(m); err != nil {
			if errors.Is(err, unix.EPIPE) && verb == UdevExit {
				return nil
			}
			return fmt.Errorf("udev control: %w", err)
		}
	}
	var buf [8]byte
	c.Read(buf[:]) // its end
	return ctx.Err()
}
