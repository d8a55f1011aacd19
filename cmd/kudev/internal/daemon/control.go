package daemon

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/cmd/kudev/internal/json"
)

// maxClients bounds the connections that are served at a time.
const maxClients = 64

// idleUntil is when a client that asks for nothing from now on loses its place to others.
func (d *Daemon) idleUntil() time.Time { return time.Now().Add(cmp.Or(d.opts.patience, time.Minute)) }

// listenControl makes the control socket. The claim is ours, so what lies there is a dead daemon's.
func listenControl(run string) (*net.UnixListener, error) {
	path := socketPath(run)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// Made under another name and moved: whoever sees it can connect.
	fresh := path + ".new"
	os.Remove(fresh)
	old := unix.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Rename(fresh, path); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// serveControl accepts connections until ctx ends.
func (d *Daemon) serveControl(ctx context.Context, l *net.UnixListener) {
	d.accept(ctx, l, "control socket", d.serveClient)
}

// accept serves a socket's connections, at most maxClients at a time, until ctx ends.
func (d *Daemon) accept(ctx context.Context, l *net.UnixListener, name string, serve func(context.Context, *net.UnixConn)) {
	slots := make(chan struct{}, maxClients)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			d.log.Warn(name+": accept failed", "err", err)
			select {
			case <-time.After(100 * time.Millisecond): // out of descriptors: leave the rest some time
			case <-ctx.Done():
				return
			}
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			c.Close()
			return
		}
		d.workers.Go(func() {
			defer func() { <-slots }()
			serve(ctx, c)
		})
	}
}

// serveClient answers one connection's requests, one after the other.
func (d *Daemon) serveClient(ctx context.Context, c *net.UnixConn) {
	defer c.Close()
	if uid, err := peerUID(c); err != nil || uid != 0 && int(uid) != os.Geteuid() {
		d.log.Warn("control socket: refused a client that is not root", "uid", uid)
		return
	}
	lost := d.counters.Lost.Load()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()

	requests := make(chan Request)
	d.workers.Go(func() { // reads ahead, so that a client that leaves is noticed
		defer cancel()
		r := bufio.NewReaderSize(c, 4096)
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			var req Request
			if err := json.Read(line, &req); err != nil {
				req = Request{Do: "malformed"}
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	})
	send := func(r *Reply) error {
		c.SetWriteDeadline(time.Now().Add(30 * time.Second)) // a client that does not read
		return json.Write(c, r)
	}
	for {
		c.SetReadDeadline(d.idleUntil())
		select {
		case req := <-requests:
			c.SetReadDeadline(time.Time{})
			if err := d.serve(ctx, req, lost, send); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// serve answers one request of a client that came when so many events had been lost. An error is one of the connection.
func (d *Daemon) serve(ctx context.Context, req Request, lost uint64, send func(*Reply) error) error {
	done := func(r Reply, err error) error {
		if err != nil {
			r.Error = err.Error()
		}
		r.Done = true
		return send(&r)
	}
	switch req.Do {
	case "ping":
		return done(Reply{}, nil)
	case "status":
		return done(Reply{Status: d.Status()}, nil)
	case "settle":
		o := d.WaitOptions(req)
		o.Lost = lost
		account, err := d.Settle(ctx, o)
		return done(Reply{Account: account}, err)
	case "coldplug":
		account, err := d.Coldplug(ctx, d.WaitOptions(req))
		return done(Reply{Account: account}, err)
	case "journal":
		for _, e := range d.journal.After(req.After) {
			if err := send(&Reply{Entry: e}); err != nil {
				return err
			}
		}
		return done(Reply{}, nil)
	case "watch":
		after := req.After
		if req.New {
			after = d.journal.Len()
		}
		w := d.journal.Watch(after)
		defer w.Close()
		for {
			list, err := w.Next(ctx)
			if err != nil {
				return err
			}
			for _, e := range list {
				if err := send(&Reply{Entry: e}); err != nil {
					return err
				}
			}
		}
	case "reload":
		return done(Reply{}, d.Reload(ctx))
	case "stop", "start":
		d.setStopped(req.Do == "stop")
		return done(Reply{}, nil)
	case "loglevel":
		return done(Reply{}, d.setLogLevel(req.Arg))
	case "env":
		return done(Reply{}, d.setEnv(req.Arg))
	case "exit":
		err := done(Reply{}, nil)
		d.Exit()
		return err
	}
	return done(Reply{}, fmt.Errorf("the daemon knows no request %q", req.Do))
}

func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return cred.Uid, nil
}
