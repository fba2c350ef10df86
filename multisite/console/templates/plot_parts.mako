## The plot of the traffic of a site, below a heading with the id "plot".
<%def name="plot(spans, bars, size, label)">
  <svg class="plot" role="img" aria-labelledby="plot" viewBox="0 0 ${size[0]} ${size[1] + 20}">
    <line x1="0" y1="${size[1]}" x2="${size[0]}" y2="${size[1]}"/>
% for bar, each in zip(bars, spans):
    <rect class="requests" x="${bar.x}" y="${size[1] - bar.requests}" width="${bar.width}" height="${bar.requests}"/>
    <rect class="errors" x="${bar.x}" y="${size[1] - bar.errors}" width="${bar.width}" height="${bar.errors}"/>
% endfor
    <text x="0" y="${size[1] + 16}">${label(spans[0].start)}</text>
    <text x="${size[0]}" y="${size[1] + 16}" text-anchor="end">${label(spans[-1].start)}</text>
  </svg>
</%def>
