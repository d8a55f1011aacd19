package hotplug

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Broadcaster tells those who listen with libudev of events that have been handled. Its methods may be called by any
// goroutine.
type Broadcaster struct {
	conn   *netlink.Conn
	raw    syscall.RawConn
	frames sync.Pool // of *[]byte
}

// NewBroadcaster opens a socket to send from, in the network namespace of which netns is a descriptor; 0 means that of
// the process. Listeners take what it sends when its user is root.
func NewBroadcaster(netns int) (*Broadcaster, error) {
	conn, err := netlink.Dial(unix.NETLINK_KOBJECT_UEVENT, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("broadcast: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("broadcast: %w", err)
	}
	_ = conn.SetWriteBuffer(1 << 20) // a frame has a few KiB; without it sends wait for slow listeners sooner
	return &Broadcaster{conn: conn, raw: raw, frames: sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}}, nil
}

// Send sends an event's properties to group 2; those of [Applied] are made for it. That nobody listens is no error.
func (b *Broadcaster) Send(properties []Pair) error {
	frame := b.frames.Get().(*[]byte)
	defer b.frames.Put(frame)
	*frame = AppendFrame((*frame)[:0], properties)
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (UdevGroup - 1)}
	var sent error
	err := b.raw.Write(func(fd uintptr) bool {
		for {
			if sent = unix.Sendto(int(fd), *frame, unix.MSG_DONTWAIT, to); sent != unix.EINTR {
				return sent != unix.EAGAIN
			}
		}
	})
	if err = errors.Join(err, sent); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("broadcast: %w", err)
	}
	return nil
}

// Close closes the socket.
func (b *Broadcaster) Close() error { return b.conn.Close() }

// DatabaseVersion is UDEV_DATABASE_VERSION, which listeners and programs are told. It says that TAGS and CURRENT_TAGS are two
// things: without it, libudev takes all tags for current ones.
const DatabaseVersion = "1"

// AppendFrame appends an event's properties to b in libudev's frame. The hashes of subsystem and devtype and the bloom
// filter of the tags let the kernel drop for a listener what that has not asked for.
func AppendFrame(b []byte, properties []Pair) []byte {
	start := len(b)
	b = append(b, make([]byte, frameHeader)...)
	var subsystem, devtype, tags string
	for _, p := range properties {
		switch p.Key {
		case "SUBSYSTEM":
			subsystem = p.Value
		case "DEVTYPE":
			devtype = p.Value
		case "TAGS":
			tags = p.Value
		}
		b = append(b, p.Key...)
		b = append(b, '=')
		b = append(b, p.Value...)
		b = append(b, 0)
	}
	h := b[start : start+frameHeader]
	copy(h, framePrefix)
	binary.BigEndian.PutUint32(h[8:], frameMagic)
	binary.NativeEndian.PutUint32(h[12:], frameHeader)
	binary.NativeEndian.PutUint32(h[16:], frameHeader)
	binary.NativeEndian.PutUint32(h[20:], uint32(len(b)-start-frameHeader))
	if subsystem != "" {
		binary.BigEndian.PutUint32(h[24:], Murmur2(subsystem))
	}
	if devtype != "" {
		binary.BigEndian.PutUint32(h[28:], Murmur2(devtype))
	}
	var bloom uint64
	for tag := range strings.SplitSeq(tags, ":") {
		if tag != "" {
			bloom |= TagBloom(tag)
		}
	}
	binary.BigEndian.PutUint32(h[32:], uint32(bloom>>32))
	binary.BigEndian.PutUint32(h[36:], uint32(bloom))
	return b
}

// TagBloom is the bits that a tag sets in a frame's filter.
func TagBloom(tag string) uint64 {
	h := Murmur2(tag)
	return 1<<(h&63) | 1<<(h>>6&63) | 1<<(h>>12&63) | 1<<(h>>18&63)
}

// Murmur2 is Austin Appleby's MurmurHash2 (32 bits, seed 0, little-endian), by which libudev's filters compare names.
func Murmur2(s string) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(len(s))
	for ; len(s) >= 4; s = s[4:] {
		k := uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
		k *= m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(s) {
	case 3:
		h ^= uint32(s[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(s[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(s[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
