package suite

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteJUnit writes outcomes in the form that CI services read.
func WriteJUnit(w io.Writer, name string, all []Outcome) error {
	type problem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",cdata"`
	}
	type test struct {
		Name    string   `xml:"name,attr"`
		Class   string   `xml:"classname,attr"`
		Time    string   `xml:"time,attr"`
		Failure *problem `xml:"failure,omitempty"`
		Error   *problem `xml:"error,omitempty"`
		Out     string   `xml:"system-out,omitempty"`
	}
	type suite struct {
		XMLName  xml.Name `xml:"testsuite"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Time     string   `xml:"time,attr"`
		Cases    []test   `xml:"testcase"`
	}
	s := suite{Name: printable(name), Tests: len(all)}
	var took time.Duration
	for _, o := range all {
		took += o.Took
		c := test{Name: printable(o.Name), Class: s.Name, Time: seconds(o.Took)}
		switch {
		case o.Error != "":
			s.Errors++
			c.Error = &problem{printable(o.Error), ""}
		case len(o.Failures) > 0:
			s.Failures++
			var text strings.Builder
			for _, f := range o.Failures {
				text.WriteString(f.String())
			}
			c.Failure = &problem{printable(o.Failures[0].What), printable(text.String())}
		}
		if !o.Passed() {
			c.Out = printable(o.Log)
		}
		s.Cases = append(s.Cases, c)
	}
	s.Time = seconds(took)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// printable leaves out what XML 1.0 cannot hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\t' && r != '\n' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// String is the difference in lines for people.
func (f Failure) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  expected: %s\n  actual:   %s\n", f.What, f.Expected, f.Actual)
	for _, l := range f.Near {
		fmt.Fprintf(&b, "  nearest:  %s\n", l)
	}
	return b.String()
}
