package hotplug

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The multicast groups of the kernel's uevent socket.
const (
	KernelGroup = 1 // what the kernel itself sends
	UdevGroup   = 2 // what a device manager tells of an event that it has handled
)

// DefaultBuffer is the receive buffer that a listener asks for, in bytes: room for about 100,000 events; on a machine with
// little memory an eighth of it. The kernel takes memory only for what is in it.
const DefaultBuffer = 128 << 20

// ErrOverflow says that the kernel dropped events since the receive buffer was full.
var ErrOverflow = errors.New("the kernel dropped events: receive buffer overflowed")

// ListenOptions may all be left out.
type ListenOptions struct {
	Group  int                  // KernelGroup (0 means that) or UdevGroup
	Buffer int                  // receive buffer in bytes, 0 means DefaultBuffer, or less: see there
	NetNS  int                  // a descriptor of the network namespace to listen in, 0 means that of the process
	Filter []bpf.RawInstruction // what the kernel drops before it reaches the buffer

	// Refused is told of each message that was not taken, from the goroutine that receives.
	Refused func(Refusal)
}

// Refusal is a message that a listener did not take.
type Refusal struct {
	Port, UID uint32 // of the sender
	Group     uint32
	Size      int
	Err       error
}

func (r Refusal) Error() string {
	return fmt.Sprintf("message of %d bytes from port %d, user %d, to group %d: %v", r.Size, r.Port, r.UID, r.Group, r.Err)
}

// ErrSender is why a message is refused that somebody else than the kernel (in group 2: than root) sent.
var ErrSender = errors.New("not from who may send it")

// ListenCounts counts messages since the listener was opened.
type ListenCounts struct {
	Received  uint64 // taken
	Refused   uint64 // from the wrong sender
	Malformed uint64 // no uevent, or too long
	Dropped   uint64 // by the kernel
}

const (
	batchSize   = 32
	messageSize = 16 << 10 // the longest that is received
)

// Listener receives uevents. Receive, Drain and Close may be called by different goroutines; two receivers take turns.
//
// It takes only what the kernel itself sent: from port 0, to group 1, with the credentials of user 0. In group 2 it takes what a
// process of user 0 sent.
type Listener struct {
	conn  *netlink.Conn
	raw   syscall.RawConn
	opts  ListenOptions
	group uint32
	size  int

	mu      sync.Mutex // one receiver at a time
	batch   *batch
	drops   uint32           // SO_MEMINFO's, as last seen
	pending []*Event         // received, and not yet handed out
	counts  [4]atomic.Uint64 // in ListenCounts' order

	markMu sync.Mutex
	marker *netlink.Conn
}

// batch is the memory that recvmmsg fills. It is allocated once, and only the pages that messages reach are ever touched.
type batch struct {
	headers [batchSize]mmsghdr
	vectors [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrNetlink
	control [batchSize][64]byte
	data    [batchSize][messageSize]byte
}

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	size uint32
}

// Listen opens a listener. Events sent from then on are received.
func Listen(opts ListenOptions) (*Listener, error) {
	if opts.Group == 0 {
		opts.Group = KernelGroup
	}
	if opts.Buffer <= 0 {
		opts.Buffer = min(DefaultBuffer, memory()/8)
	}
	conn, err := netlink.Dial(unix.NETLINK_KOBJECT_UEVENT, &netlink.Config{NetNS: opts.NetNS})
	if err != nil {
		return nil, fmt.Errorf("listen for uevents: %w", err)
	}
	l := &Listener{conn: conn, opts: opts, group: uint32(opts.Group), batch: new(batch)}
	if err := l.prepare(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen for uevents: %w", err)
	}
	return l, nil
}

// memory is how much the machine has, in bytes. What waits may take a part of it: of what does not fit /sys tells more than
// a process that was killed for memory.
func memory() int {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil || info.Totalram == 0 {
		return math.MaxInt
	}
	return int(min(uint64(info.Totalram)*uint64(max(info.Unit, 1)), math.MaxInt))
}

// prepare sets the socket up, and joins the group last: what arrives has passed all of it.
func (l *Listener) prepare() error {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	l.raw = raw
	if err := l.conn.SetReadBuffer(l.opts.Buffer); err != nil { // with and, where that is refused, without force
		return fmt.Errorf("receive buffer: %w", err)
	}
	if l.size, err = l.conn.ReadBuffer(); err != nil {
		return fmt.Errorf("receive buffer: %w", err)
	}
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}); err != nil || sockErr != nil {
		return fmt.Errorf("senders' credentials: %w", errors.Join(err, sockErr))
	}
	if len(l.opts.Filter) > 0 {
		if err := l.conn.SetBPF(l.opts.Filter); err != nil {
			return fmt.Errorf("filter: %w", err)
		}
	}
	b := l.batch
	for i := range b.headers {
		b.vectors[i].Base = &b.data[i][0]
		b.vectors[i].SetLen(messageSize)
		h := &b.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = &b.control[i][0]
	}
	if err := l.conn.JoinGroup(l.group); err != nil {
		return fmt.Errorf("join group %d: %w", l.group, err)
	}
	return nil
}

// Buffer is the size of the receive buffer as the kernel counts it, in bytes: twice what was asked for, less where the
// limit of net.core.rmem_max could not be passed.
func (l *Listener) Buffer() int { return l.size }

// Counts returns the counters.
func (l *Listener) Counts() ListenCounts {
	return ListenCounts{l.counts[0].Load(), l.counts[1].Load(), l.counts[2].Load(), l.counts[3].Load()}
}

// Receive waits for events and stores them in events; it returns how many. When the kernel has dropped some it returns
// ErrOverflow, at once and before it returns any event that was sent after the dropped ones: the caller then calls Drain.
// After Close the error is ErrClosed, and the context's when that has ended.
func (l *Listener) Receive(ctx context.Context, events []*Event) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.pending) == 0 {
		if err := l.receive(ctx, true); err != nil {
			return 0, err
		}
	}
	n := copy(events, l.pending)
	l.pending = l.pending[:copy(l.pending, l.pending[n:])]
	return n, nil
}

// Drain reads, after ErrOverflow, all that is in the receive buffer, since the kernel goes on dropping until it is empty,
// and hands it to deliver. It returns how many events the kernel has dropped since this was last asked. Whatever they
// said must be read from /sys after that.
func (l *Listener) Drain(ctx context.Context, deliver func(*Event) error) (dropped uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for _, ev := range l.pending {
			if err := deliver(ev); err != nil {
				return l.dropped(), err
			}
		}
		l.pending = l.pending[:0]
		switch err := l.receive(ctx, false); {
		case errors.Is(err, unix.EAGAIN):
			return l.dropped(), nil
		case err != nil && !errors.Is(err, ErrOverflow):
			return l.dropped(), err
		}
	}
}

// receive fills pending with the next batch.
func (l *Listener) receive(ctx context.Context, wait bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b := l.batch
	var n int
	var errno syscall.Errno
	try := func(fd uintptr) bool {
		for i := range b.headers {
			h := &b.headers[i]
			h.Namelen = uint32(unsafe.Sizeof(b.names[i]))
			h.SetControllen(len(b.control[i]))
			h.Flags, h.size = 0, 0
		}
		for {
			r, _, e := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.headers[0])), batchSize, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
			if n, errno = int(r), e; e != unix.EINTR {
				return !wait || e != unix.EAGAIN
			}
		}
	}
	var stop func() bool
	if wait {
		_ = l.conn.SetReadDeadline(time.Time{})
		stop = context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	}
	err := l.raw.Read(try)
	if stop != nil {
		stop()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded): // of an earlier context
		return nil
	case err != nil:
		return fmt.Errorf("listener: %w", ErrClosed)
	case errno == unix.ENOBUFS:
		return ErrOverflow
	case errno == unix.EBADF:
		return fmt.Errorf("listener: %w", ErrClosed)
	case errno != 0:
		return fmt.Errorf("receive uevents: %w", errno)
	}
	at := monotonic()
	for i := range n {
		l.take(i, at)
	}
	return nil
}

// take judges one message of the batch, which was read at that time, and parses it.
func (l *Listener) take(i int, at time.Duration) {
	b := l.batch
	h := &b.headers[i]
	from := &b.names[i]
	uid, ok := senderUID(b.control[i][:h.Controllen])
	data := b.data[i][:min(h.size, messageSize)] // size is the message's own, even when it was cut
	var err error
	switch {
	case !ok || uid != 0, from.Groups != 1<<(l.group-1), l.group == KernelGroup && from.Pid != 0:
		l.counts[1].Add(1)
		err = ErrSender
	case h.Flags&unix.MSG_TRUNC != 0:
		l.counts[2].Add(1)
		err = fmt.Errorf("%w: longer than %d bytes", ErrMessage, messageSize)
	default:
		var ev *Event
		if ev, err = ParseEvent(data); err == nil {
			l.counts[0].Add(1)
			ev.at = at
			l.pending = append(l.pending, ev)
			return
		}
		l.counts[2].Add(1)
	}
	if l.opts.Refused != nil {
		l.opts.Refused(Refusal{Port: from.Pid, UID: uid, Group: from.Groups, Size: int(h.size), Err: err})
	}
}

// senderUID reads the sender's user from a message's control data.
func senderUID(control []byte) (uint32, bool) {
	if len(control) < unix.CmsgLen(unix.SizeofUcred) {
		return 0, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_CREDENTIALS {
		return 0, false
	}
	return (*unix.Ucred)(unsafe.Pointer(&control[unix.CmsgLen(0)])).Uid, true
}

// dropped returns how many messages the kernel has dropped since the last call.
func (l *Listener) dropped() uint64 {
	const soMeminfo, drops = 55, 8 // SO_MEMINFO, SK_MEMINFO_DROPS
	var info [9]uint32
	var errno syscall.Errno
	err := l.raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, soMeminfo, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil || errno != 0 {
		return 0
	}
	n := uint64(info[drops] - l.drops) // it may wrap
	l.drops = info[drops]
	l.counts[3].Add(n)
	return n
}

// Mark makes the kernel broadcast an event with SYNTH_UUID=uuid in the listener's network namespace, after all that it has
// sent so far: a change of /dev/null's device, which means nothing to others. It needs CAP_SYS_ADMIN over the namespace and Linux
// 4.18; where that lacks, a write to a uevent file does the same. Fits [SettleOptions.Mark].
func (l *Listener) Mark(uuid string) error {
	l.markMu.Lock()
	defer l.markMu.Unlock()
	if l.marker == nil {
		conn, err := netlink.Dial(unix.NETLINK_KOBJECT_UEVENT, &netlink.Config{NetNS: l.opts.NetNS})
		if err != nil {
			return fmt.Errorf("mark: %w", err)
		}
		l.marker = conn
	}
	_, err := l.marker.Execute(netlink.Message{
		Header: netlink.Header{Type: 16, Flags: netlink.Request | netlink.Acknowledge},
		Data: AppendMessage(nil, "change", "/devices/virtual/mem/null", "mem",
			"SYNTH_UUID="+uuid, "MAJOR=1", "MINOR=3", "DEVNAME=null", "DEVMODE=0666"),
	})
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	return nil
}

// Close ends the listener and wakes who waits in Receive.
func (l *Listener) Close() error {
	l.markMu.Lock()
	if l.marker != nil {
		l.marker.Close()
		l.marker = nil
	}
	l.markMu.Unlock()
	return l.conn.Close()
}
