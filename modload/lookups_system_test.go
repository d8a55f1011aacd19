//go:build system

package modload

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkLookupAgainstLibkmod looks up modaliases with this package and with libkmod, which both name all the modules that answer.
// Each bus of which the tree has patterns has a line, of its own modaliases, round and round; all, the last, is a million different ones of
// all buses, each looked up once, in an index of which nothing was asked before. About one in eight is of a device that nobody knows.
//
// The metrics are medians of five rounds, in which the two take turns: nanoseconds a look-up of both, and how many times as fast we are.
// The time is the processor's, so that whatever else the machine does counts for neither.
func BenchmarkLookupAgainstLibkmod(b *testing.B) {
	dir, program := debianTree(b), libkmod(b)
	x, err := OpenDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	buses := modaliases(b, x, 1_000_000)
	var all, names []string
	for name, list := range buses {
		names = append(names, name)
		all = append(all, list...)
	}
	slices.Sort(names)
	slices.Sort(all)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })

	const rounds, spell = 5, 50 * time.Millisecond
	type line struct {
		bus   string
		times float64
	}
	var lines []line
	for _, name := range names {
		list := inOrder(buses[name])
		b.Run(name, func(b *testing.B) {
			c := comparison{index: x, program: program, dir: dir}
			c.lookUp(list, 0, max(len(list), 5000)) // so that no round begins with the index as it is in the file
			for range rounds {
				c.round(b, list, spell)
			}
			c.report(b, len(list))
			lines = append(lines, line{name, c.times()})
		})
	}
	b.Run("all", func(b *testing.B) {
		list := inOrder(all)
		fresh, err := OpenDir(dir)
		if err != nil {
			b.Fatal(err)
		}
		c := comparison{index: fresh, program: program, dir: dir}
		for round := range rounds {
			c.round(b, list[round*len(list)/rounds:(round+1)*len(list)/rounds], 0)
		}
		c.report(b, len(list))
	})
	if len(lines) > 0 {
		least := slices.MinFunc(lines, func(a, b line) int { return cmp.Compare(a.times, b.times) })
		b.Logf("the least is %s, %.1f times libkmod's look-ups", least.bus, least.times)
	}
}

// A comparison is look-ups in an index and, in turns, by the program that does them with libkmod.
type comparison struct {
	index                 *Index
	program, dir          string
	ours, theirs          []float64 // nanoseconds a look-up, by round
	asked, known, letters int
}

// lookUp looks up modaliases of a list from a place on, round and round, and takes the modules' names.
func (c *comparison) lookUp(list []string, at, count int) int {
	known, letters := 0, 0
	for range count {
		found := 0
		for m := range c.index.Match(list[at]) {
			letters += len(m.Module)
			found = 1
		}
		known += found
		if at++; at == len(list) {
			at = 0
		}
	}
	c.asked, c.known, c.letters = c.asked+count, c.known+known, c.letters+letters
	return at
}

// round has both look up a list for about a time, or each once where that is 0.
func (c *comparison) round(b *testing.B, list []string, spell time.Duration) {
	runtime.GC()
	count := 2048 // the clock is a system call that takes as long as some twenty look-ups
	if spell == 0 {
		count = len(list)
	}
	at, n, start, spent := 0, 0, processorTime(b), time.Duration(0)
	for {
		at = c.lookUp(list, at, count)
		n += count
		if spent = processorTime(b) - start; spent >= spell {
			break
		}
	}
	c.ours = append(c.ours, float64(spent.Nanoseconds())/float64(n))
	f := strings.Fields(askLibkmod(b, c.program, c.dir, list, "time", strconv.FormatInt(spell.Nanoseconds(), 10)))
	done, _ := strconv.ParseFloat(f[0], 64)
	nanos, _ := strconv.ParseFloat(f[1], 64)
	c.theirs = append(c.theirs, nanos/done)
}

// times is how many look-ups we do while libkmod does one: the median of the rounds.
func (c *comparison) times() float64 {
	var times []float64
	for i := range c.ours {
		times = append(times, c.theirs[i]/c.ours[i])
	}
	return median(times)
}

func (c *comparison) report(b *testing.B, aliases int) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(c.times(), "times")
	b.ReportMetric(median(c.ours), "kudev-ns")
	b.ReportMetric(median(c.theirs), "libkmod-ns")
	b.ReportMetric(float64(aliases), "aliases")
	b.ReportMetric(100*float64(c.known)/float64(c.asked), "%known")
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// processorTime is what this process has used of it.
func processorTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkFirstAnswerAgainstLibkmod opens the tree and looks up one alias, again and again, with this package and with libkmod: medians.
func BenchmarkFirstAnswerAgainstLibkmod(b *testing.B) {
	dir, program := debianTree(b), libkmod(b)
	const alias, rounds = "usb:v046DpC52Bd1201dc00dsc00dp00ic03isc01ip02in00", 300
	var ours, theirs []float64
	for range 5 {
		opened := make([]*Index, 0, rounds) // libkmod's time is without closing too
		for range rounds {
			start := time.Now()
			x, err := OpenDir(dir)
			if err != nil {
				b.Fatal(err)
			}
			for range x.Match(alias) {
			}
			opened = append(opened, x)
			ours = append(ours, float64(time.Since(start).Nanoseconds()))
		}
		runtime.KeepAlive(opened)
		for line := range strings.FieldsSeq(askLibkmod(b, program, dir, []string{alias}, "first", strconv.Itoa(rounds))) {
			ns, _ := strconv.ParseFloat(line, 64)
			theirs = append(theirs, ns)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(theirs)/median(ours), "times")
	b.ReportMetric(median(ours)/1e3, "kudev-µs")
	b.ReportMetric(median(theirs)/1e3, "libkmod-µs")
}
