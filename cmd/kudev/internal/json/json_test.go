package json

import (
	"bytes"
	standard "encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

type micros int64

// sample has each kind of field that the program's structs have, with every way to name it.
type sample struct {
	Text     string             `json:"text"`
	Maybe    string             `json:"maybe,omitempty"`
	Number   int                `json:"number"`
	Small    int8               `json:"small,omitempty"`
	Count    uint64             `json:"count"`
	ID       *uint32            `json:"id,omitempty"`
	Took     micros             `json:"took_us,omitempty"`
	Yes      bool               `json:"yes"`
	May      bool               `json:"may,omitempty"`
	List     []string           `json:"list"`
	Left     []string           `json:"left,omitempty"`
	Inner    *sample            `json:"inner,omitempty"`
	Inners   []sample           `json:"inners,omitempty"`
	Pointers []*sample          `json:"pointers,omitempty"`
	Map      map[string]string  `json:"map,omitempty"`
	Structs  map[string]*sample `json:"structs"`
	Plain    struct{ A, B int } `json:"plain"`
	Untagged string
	hidden   int
}

// standardLine is what encoding/json writes.
func standardLine(t *testing.T, v any, indent string) string {
	t.Helper()
	var b strings.Builder
	e := standard.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func compareWritten(t *testing.T, v any) {
	t.Helper()
	var line, lines bytes.Buffer
	if err := errors.Join(Write(&line, v), WriteIndented(&lines, v)); err != nil {
		t.Fatal(err)
	}
	if want := standardLine(t, v, ""); line.String() != want {
		t.Errorf("wrote %s, want %s", &line, want)
	}
	if want := standardLine(t, v, "  "); lines.String() != want {
		t.Errorf("wrote %s, want %s", &lines, want)
	}
}

func TestItWritesAsTheStandardPackageDoes(t *testing.T) {
	id := uint32(7)
	full := sample{
		Text: "a\"\\/\b\f\n\r\t\x00\x1f\x7f<&>\u2028\u2029\xff\xc3ü€\U0001f600", Maybe: "x", Number: -1, Small: -128, Count: 1<<64 - 1, ID: &id, Took: 5,
		Yes: true, May: true, List: []string{"", "b"}, Left: []string{}, Inner: &sample{}, Inners: []sample{{}, {List: []string{}}}, Pointers: []*sample{nil, {}},
		Map: map[string]string{"b": "2", "a": "1", "": "\xff"}, Structs: map[string]*sample{"nil": nil, "some": {}}, hidden: 3,
	}
	for _, v := range []any{
		full, &full, sample{}, (*sample)(nil), []*sample{&full}, map[string]string{}, map[string]string(nil), map[string]int{"z": 1, "y": 2},
		[]string(nil), []string{}, "text", true, -5, uint8(255), struct{}{}, nil, []any{nil, 1, "a"}, [][]string{{"a"}, nil, {}},
	} {
		compareWritten(t, v)
	}
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	type loop struct{ Next *loop }
	endless := &loop{}
	endless.Next = endless
	for _, v := range []any{1.5, []byte("x"), map[int]string{}, func() {}, endless, []any{make(chan int)}} {
		var out bytes.Buffer
		if err := Write(&out, v); err == nil || out.Len() > 0 {
			t.Errorf("%T was written: %q", v, out.String())
		}
	}
}

// compareRead reads data with both packages, into an empty value and into one that is not empty.
func compareRead(t *testing.T, data []byte) {
	t.Helper()
	for _, fresh := range []func() any{
		func() any { return new(sample) },
		func() any {
			return &sample{Text: "before", List: []string{"a", "b", "c"}, Inner: &sample{Number: 4}, Inners: []sample{{Number: 1}}, Map: map[string]string{"a": "b"}}
		},
		func() any { return new(map[string]string) },
		func() any { return new([]*sample) },
		func() any { return new([][]int) },
		func() any { return new(*string) },
	} {
		ours, theirs := fresh(), fresh()
		err, want := Read(data, ours), standard.Unmarshal(data, theirs)
		if err != nil && strings.Contains(err.Error(), "nested deeper") {
			continue
		}
		if (err == nil) != (want == nil) {
			t.Errorf("%q into %T: error %v, want %v", data, ours, err, want)
		} else if err == nil && !reflect.DeepEqual(ours, theirs) {
			t.Errorf("%q: read %#v, want %#v", data, ours, theirs)
		}
	}
}

var texts = []string{
	`{"text":"a","number":-5,"count":18446744073709551615,"id":7,"took_us":9,"yes":true,"list":["x",null],"plain":{"A":1,"B":2}}`,
	`{"inner":{"inner":{"text":"x"}},"inners":[{"number":1},{}],"pointers":[null,{"text":"p"}],"map":{"b":"c","a":"\u00e4"},"structs":{"s":{},"n":null}}`,
	`{"TEXT":"folded","Text":"again","text":"exact","unknown":{"a":[1.5e+10,{"b":[true,false,null]}]},"hidden":4}`,
	` { "list" : [ ] , "left" : null , "map" : { } } `, `null`, `true`, `"x"`, `[]`, `[[1,2],[],null]`, `{}`, `[{"text":"a"},{"text":"b"}]`, `{"a":"b"}`,
	`{"text":"\"\\\/\b\f\n\r\t\u0041\ud83d\ude00\ud83d\u0041\ud83dx\ude00\uD83D\uDE00"}`, "{\"text\":\"\xff\xc3\u2028\"}", `{"inners":[{"text":"a"}],"inners":[{"number":2},{}]}`,
	`{"number":1.0}`, `{"number":1e2}`, `{"number":-0}`, `{"count":-0}`, `{"count":-1}`, `{"small":128}`, `{"small":-128}`, `{"number":01}`, `{"number":-}`, `{"number":1.}`,
	`{"number":.5}`, `{"number":"1"}`, `{"text":1}`, `{"text":null}`, `{"yes":"true"}`, `{"yes":nul}`, `{"list":{}}`, `{"map":[]}`, `{"id":null}`, `{"id":4294967296}`,
	``, ` `, `{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `[1,]`, `[1 2]`, `{"a" 1}`, `{a:1}`, `{}x`, `{}{}`, `tru`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\x01\"", "\"a\nb\"", `"a`,
}

func TestItReadsAsTheStandardPackageDoes(t *testing.T) {
	for _, text := range texts {
		compareRead(t, []byte(text))
	}
}

func TestAnErrorSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		`{"number": x}`:      `JSON: byte 11: where a value is expected: unexpected 'x'`,
		`{"number": "five"}`: `JSON: byte 17: a string where int is wanted`,
		`{"list": ["a" "b"]`: `JSON: byte 14: where ',' or ']' is expected: unexpected '"'`,
		`{"list": ["a"`:      `JSON: byte 13: where ',' or ']' is expected: unexpected EOF`,
	} {
		if err := Read([]byte(text), new(sample)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if err := Read([]byte(strings.Repeat("[", maxDepth+2)), new(sample)); err == nil {
		t.Error("an array that never ends was read")
	}
	if err := Read([]byte(`{"other":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`), new(sample)); err == nil || !strings.Contains(err.Error(), "nested deeper than 100") {
		t.Errorf("deep nesting: %v", err)
	}
}

func TestAnUnknownMemberIsAnErrorOnRequest(t *testing.T) {
	text := []byte(`{"text":"a","colour":1}`)
	if err := Read(text, new(sample)); err != nil {
		t.Error(err)
	}
	if err := ReadStrict(text, new(sample)); err == nil || err.Error() != `JSON: byte 12: unknown member "colour"` {
		t.Errorf("got %v", err)
	}
}

// readAll reads the objects of a stream.
func readAll(r io.Reader) (texts []string, err error) {
	for d := NewDecoder(r); ; {
		var s sample
		if err := d.Read(&s); err != nil {
			return texts, err
		}
		texts = append(texts, s.Text)
	}
}

func TestADecoderReadsOneObjectAfterAnother(t *testing.T) {
	const stream = " {\"text\":\"a}\\\"{\"}\n{\"text\":\"b\", \"list\":[\"]\"]}{\n  \"text\": \"c\"\n}\n\n"
	got, err := readAll(iotest.OneByteReader(strings.NewReader(stream)))
	if err != io.EOF || !slices.Equal(got, []string{`a}"{`, "b", "c"}) {
		t.Errorf("read %q, %v", got, err)
	}
	for text, want := range map[string]string{
		`{"text":"a"} 5`:            `JSON: byte 13: '5' where an object is expected`,
		`{"text":"a"}{"text":5}`:    `JSON: byte 21: number 5 where string is wanted`,
		`{"text":"a"}{"text":"b\"}`: `JSON: byte 25: within an object: unexpected EOF`,
		`{"text":"a"}{]`:            `JSON: byte 13: where a name is expected: unexpected ']'`,
	} {
		if got, err := readAll(strings.NewReader(text)); err == nil || err.Error() != want || len(got) != 1 {
			t.Errorf("%s: %q, %v, want %s", text, got, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		compareRead(t, data)
		readAll(bytes.NewReader(data))
	})
}

func FuzzWrite(f *testing.F) {
	f.Add("a\xff", "<\u2028", -1, uint64(1), true)
	f.Fuzz(func(t *testing.T, a, b string, n int, u uint64, yes bool) {
		id := uint32(u)
		s := sample{Text: a, Maybe: b, Number: n, Small: int8(n), Count: u, ID: &id, Yes: yes, May: yes, List: strings.Split(a, "a"), Map: map[string]string{a: b, b: a}}
		s.Inner, s.Structs = &sample{Text: b, Took: micros(n)}, map[string]*sample{b: {Untagged: a}}
		if yes {
			s.Inners, s.Pointers, s.ID = []sample{{Count: u}, {Maybe: a}}, []*sample{nil}, nil
		}
		compareWritten(t, s)

		var line bytes.Buffer
		Write(&line, s)
		var back sample
		if err := Read(line.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		if utf8.ValidString(a) && utf8.ValidString(b) && !reflect.DeepEqual(s, back) {
			t.Errorf("wrote %#v, read %#v", s, back)
		}
	})
}
