// Package wire is what a test's host and the guest's agent say to each other over a serial line: frames in both
// directions, each with the number of the program that it is about.
//
// A frame is "ID KIND LENGTH\n", ID and LENGTH decimal and KIND one letter, and LENGTH bytes. The host may start any
// number of programs at once; it gives them their numbers.
package wire

import (
	"bufio"
	"fmt"
	"io"
	"time"
)

// Kind says what a frame's data is.
type Kind byte

const (
	// From the host.
	Run    Kind = 'r' // a Command in JSON: start it under this number
	Input  Kind = 'i' // bytes for its standard input; none of them: the end of it
	Signal Kind = 's' // a signal's number in decimal, for the program alone

	// From the guest.
	Hello  Kind = 'H' // the agent is there; ID is 0, and the data a Time in JSON
	Output Kind = 'o'
	Errors Kind = 'e' // what it writes to its standard error
	Ready  Kind = 'R' // it has written to its readiness descriptor; a Time in JSON
	Exit   Kind = 'x' // an Ending in JSON: the program's last frame
	Failed Kind = 'f' // it could not be started, and why: its last frame
)

// MaxData is the longest data of a frame.
const MaxData = 1 << 20

// Command is a program to start.
type Command struct {
	Args  []string
	Env   []string // nil for the agent's own
	Dir   string   // "" for /
	Ready bool     // descriptor 3 is a pipe, and the first byte on it is reported as Ready
}

// Time is a moment of the guest's CLOCK_BOOTTIME: since its kernel began.
type Time struct {
	At time.Duration
}

// Ending says how a program ended and what it took.
type Ending struct {
	Code         int           // its exit status; 128 and the signal when one killed it, as a shell says it
	Began, Ended time.Duration // CLOCK_BOOTTIME
	User, System time.Duration // its processor time and that of the children it waited for
	MaxRSS       int64         // bytes
}

// Write writes one frame, in one call of w's Write.
func Write(w io.Writer, id uint32, kind Kind, data []byte) error {
	if len(data) > MaxData {
		return fmt.Errorf("a frame of %d bytes is longer than %d", len(data), MaxData)
	}
	frame := make([]byte, 0, 24+len(data))
	frame = fmt.Appendf(frame, "%d %c %d\n", id, kind, len(data))
	_, err := w.Write(append(frame, data...))
	return err
}

// Read reads one frame. What is before the first frame of a line, such as what firmware writes to the port, is not passed over:
// use a port of its own.
func Read(r *bufio.Reader) (id uint32, kind Kind, data []byte, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, 0, nil, err
	}
	var length int
	if _, err := fmt.Sscanf(line, "%d %c %d\n", &id, &kind, &length); err != nil || length < 0 || length > MaxData {
		return 0, 0, nil, fmt.Errorf("not a frame's head: %.80q", line)
	}
	data = make([]byte, length)
	_, err = io.ReadFull(r, data)
	return id, kind, data, err
}
