package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
)

// timeout is a flag that takes a span as systemd.time(7) has it: seconds, or numbers with units ("1min 30s"), or "infinity".
type timeout struct {
	d       time.Duration
	set     bool
	forever bool
}

func timeoutFlag(flags *pflag.FlagSet, short string) *timeout {
	t := &timeout{}
	flags.VarP(t, "timeout", short, "wait at most so long (seconds, or with a unit); 0 for not at all")
	return t
}

func (t *timeout) String() string { return "" }
func (t *timeout) Type() string   { return "SECONDS" }

func (t *timeout) Set(s string) error {
	if s == "infinity" {
		*t = timeout{set: true, forever: true}
		return nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return err
	}
	*t = timeout{d: d, set: true}
	return nil
}

// context limits ctx to the time that was given, if any was.
func (t *timeout) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if !t.set || t.forever {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, t.d)
}

// micros is the timeout as a request has it: 0 for the configured one, and less for none.
func (t *timeout) micros() daemon.Micros {
	switch {
	case !t.set:
		return 0
	case t.forever:
		return -1
	}
	return max(1, daemon.Micros(t.d/time.Microsecond))
}

// units are those of systemd.time(7), up to the week.
func units() map[string]time.Duration {
	return map[string]time.Duration{
		"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "seconds": time.Second,
		"us": time.Microsecond, "µs": time.Microsecond, "usec": time.Microsecond, "ms": time.Millisecond, "msec": time.Millisecond,
		"m": time.Minute, "min": time.Minute, "minute": time.Minute, "minutes": time.Minute,
		"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "hours": time.Hour,
		"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
		"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
	}
}

func parseSpan(s string) (time.Duration, error) {
	var sum time.Duration
	rest := strings.TrimSpace(s)
	for rest != "" || sum == 0 {
		n := 0
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.') {
			n++
		}
		number, err := strconv.ParseFloat(rest[:n], 64)
		rest = strings.TrimLeft(rest[n:], " ")
		n = strings.IndexAny(rest, " .0123456789")
		if n < 0 {
			n = len(rest)
		}
		unit, known := units()[rest[:n]]
		if err != nil || !known || number*float64(unit) > float64(1<<62-sum) {
			return 0, fmt.Errorf("%q is no time", s)
		}
		sum += time.Duration(number * float64(unit))
		if rest = strings.TrimLeft(rest[n:], " "); rest == "" {
			break
		}
	}
	return sum, nil
}
