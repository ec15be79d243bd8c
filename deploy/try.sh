#!/bin/sh
# Three first requests, printed by `make demo` before the server starts.
url="http://$HOST:$PORT"
cat <<END

  latentd is starting on $url (interactive documentation: $url/docs; Ctrl-C stops it)

  Sixteen faces as one picture:
    curl -s $url/v1/models/faces-dcgan/sample -H 'Accept: image/png' \\
      --json '{"n": 16, "seed": 7}' -o faces.png

  A face by its attributes:
    curl -s $url/v1/models/faces-cvae/generate -H 'Accept: image/png' \\
      --json '{"condition": {"glasses": true, "hair_colour": "red", "smile": true}, "n": 8, "seed": 1}' -o face.png

  The way from one digit to another, with the latents:
    curl -s $url/v1/models/digits-vae/interpolate \\
      --json '{"points": [{"seed": 1, "row": 0}, {"seed": 1, "row": 5}], "steps": 7, "method": "slerp", "return_latents": true}'

END
