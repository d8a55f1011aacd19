package rules

import "fmt"

// Severity says what a Problem does to the rule it was found in.
type Severity uint8

const (
	// Style is about how a line is written. It works.
	Style Severity = iota
	// Warning is about something that works in another way than it reads, or does nothing.
	Warning
	// Error is about something that is ignored: a key, a value, a line.
	Error
)

func (s Severity) String() string {
	return [...]string{"style", "warning", "error"}[s]
}

// Problem is one thing that is wrong with a rules file. Everything else in the file counts.
type Problem struct {
	File     string
	Line     int // the physical line, from 1; 0 for the file as a whole
	Column   int // the byte within that line, from 1; 0 for the line as a whole
	Rule     int // the last physical line of the rule, which is the number that udevadm verify prints
	Severity Severity
	Message  string
	Udev     string // what udevadm verify says of it, "" for nothing

	phase phase
}

// phase is when udevadm verify comes upon a problem: it reads the lines, then finds the labels, then looks at each line again.
type phase uint8

const (
	reading phase = iota
	linking
	reviewing
)

// Error returns the problem as one line: file:line:column: message.
func (p Problem) Error() string {
	switch {
	case p.Line == 0:
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	case p.Column == 0:
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}
