#!/usr/bin/env bash
# Writes docs/pictures/speed.svg, the chart of the README, from rows of the table in docs/speed.md.
set -euo pipefail
cd "$(dirname "$0")/.."
awk -F' *[|] *' '
BEGIN {
	want["registry at 20 MB/s a connection → `save`, ÷ `crane pull`"] = "save, slow lines ÷ crane pull"
	want["registry → `save`, ÷ `crane pull`"] = "save, fast line ÷ crane pull"
	want["`oci:` → `docker-archive:`, ÷ containers/image'"'"'s own"] = "copy ÷ skopeo'"'"'s containers/image"
	want["archive → `push`, ÷ `skopeo copy oci-archive:`"] = "push ÷ skopeo copy"
	want["archive, 5 of 6 layers there → `load`, ÷ `docker load`, docker 29, containerd store"] = "load ÷ docker load"
}
{ sub(/^† /, "", $2) }
$2 in want { n++; name[n] = want[$2]; ratio[n] = $5; ours[n] = $3; theirs[n] = $4 }
END {
	if (n != 5) { print "docs/speed.md has " n " of the 5 rows" >"/dev/stderr"; exit 1 }
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 200\" width=\"760\" height=\"200\" role=\"img\" aria-label=\"Wall time as a share of the other program'"'"'s\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"760\" height=\"200\" fill=\"#fff\"/>\n"
	for (i = 1; i <= n; i++) {
		y = 12 + (i - 1) * 32
		printf "<text x=\"232\" y=\"%d\" text-anchor=\"end\" fill=\"#222\">%s</text>", y + 15, name[i]
		printf "<rect x=\"244\" y=\"%d\" width=\"360\" height=\"20\" fill=\"#dde3ea\"/><rect x=\"244\" y=\"%d\" width=\"%.1f\" height=\"20\" fill=\"#1a7f5a\"/>", y, y, 360 * ratio[i]
		printf "<text x=\"612\" y=\"%d\" fill=\"#222\">%s instead of %s</text>\n", y + 15, ours[i], theirs[i]
	}
	printf "<text x=\"244\" y=\"190\" fill=\"#555\">0</text><text x=\"604\" y=\"190\" text-anchor=\"end\" fill=\"#555\">the other program'"'"'s time</text>\n</svg>\n"
}' speed.md >pictures/speed.svg.new
mv pictures/speed.svg.new pictures/speed.svg
