package hotplug

import (
	"encoding/binary"
	"fmt"
)

// libudev's frame, in which a device manager tells its listeners of an event: a header of 40 bytes, then "KEY=value"
// separated by NULs.
// Format: systemd, src/libsystemd/sd-device/device-monitor.c, monitor_netlink_header.
const (
	framePrefix = "libudev\x00"
	frameMagic  = 0xfeedcafe
	frameHeader = 40
)

// frameProperties returns the properties of a message in libudev's frame.
func frameProperties(b []byte) ([]byte, error) {
	if len(b) < frameHeader {
		return nil, bad("a frame of libudev's that is cut short", b)
	}
	if binary.BigEndian.Uint32(b[8:]) != frameMagic {
		return nil, bad("a frame of libudev's with another magic", b)
	}
	from, length := binary.NativeEndian.Uint32(b[16:]), binary.NativeEndian.Uint32(b[20:])
	if uint64(from)+uint64(length) > uint64(len(b)) || from < frameHeader {
		return nil, fmt.Errorf("%w: libudev's frame says %d bytes at %d, and has %d", ErrMessage, length, from, len(b))
	}
	return b[from : from+length], nil
}
