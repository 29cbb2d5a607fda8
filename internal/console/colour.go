package console

import (
	"strconv"
	"strings"
)

// apply is SGR (ECMA-48, 8.3.117) with the colours of xterm.
func (s style) apply(params string) style {
	codes := strings.FieldsFunc(params+";", func(r rune) bool { return r == ';' || r == ':' })
	if len(codes) == 0 {
		return 0
	}
	for i := 0; i < len(codes); i++ {
		n, err := strconv.Atoi(codes[i])
		if err != nil {
			continue
		}
		switch {
		case n == 38 || n == 48:
			c, used := extended(codes[i+1:])
			i += used
			if n == 38 {
				s = s.withFore(c)
			} else {
				s = s.withBack(c)
			}
		default:
			s = s.one(n)
		}
	}
	return s
}

func (s style) one(n int) style {
	switch {
	case n == 0:
		return 0
	case n == 1:
		return s | bold
	case n == 2:
		return s | faint
	case n == 3:
		return s | italic
	case n == 4:
		return s | underlined
	case n == 7:
		return s | inverse
	case n == 9:
		return s | struck
	case n == 22:
		return s &^ (bold | faint)
	case n == 23:
		return s &^ italic
	case n == 24:
		return s &^ underlined
	case n == 27:
		return s &^ inverse
	case n == 29:
		return s &^ struck
	case n >= 30 && n <= 37:
		return s.withFore(style(n - 29))
	case n == 39:
		return s.withFore(0)
	case n >= 40 && n <= 47:
		return s.withBack(style(n - 39))
	case n == 49:
		return s.withBack(0)
	case n >= 90 && n <= 97:
		return s.withFore(style(n - 89))
	case n >= 100 && n <= 107:
		return s.withBack(style(n - 99))
	}
	return s
}

// extended is a colour of 256, or of red, green and blue, as the nearest of ours; used is how many codes it took.
func extended(codes []string) (c style, used int) {
	number := func(i int) int {
		if i >= len(codes) {
			return 0
		}
		n, err := strconv.Atoi(codes[i])
		if err != nil {
			return 0
		}
		return min(max(n, 0), 255)
	}
	switch number(0) {
	case 5:
		return indexed(number(1)), 2
	case 2:
		return nearest(number(1), number(2), number(3)), 4
	}
	return 0, 1
}

func indexed(n int) style {
	switch {
	case n < 16:
		return style(n%8 + 1)
	case n >= 232:
		grey := 8 + 10*(n-232)
		return nearest(grey, grey, grey)
	}
	level := func(v int) int {
		if v == 0 {
			return 0
		}
		return 55 + 40*v
	}
	n -= 16
	return nearest(level(n/36), level(n/6%6), level(n%6))
}

// nearest is black, white, or the hue of a colour.
func nearest(r, g, b int) style {
	high, low := max(r, g, b), min(r, g, b)
	if high-low < 40 {
		if high < 170 {
			return 1
		}
		return 8
	}
	c, middle := style(0), (high+low)/2
	for i, v := range []int{r, g, b} {
		if v > middle {
			c |= 1 << i
		}
	}
	return c + 1
}
