## The plot of the traffic of a site, below a heading with the id "plot". Its texts are beside the SVG, which is stretched.
<%def name="plot(spans, bars, size, label)">
<div class="plot">
<% most = max((each.requests for each in spans), default=0) %>\
% if most:
  <p>${counted("requests", most)}</p>
% endif
  <svg role="img" aria-labelledby="plot" viewBox="0 0 ${size[0]} ${size[1]}" preserveAspectRatio="none">
    <line x1="0" y1="0" x2="${size[0]}" y2="0"/>
% for bar, each in zip(bars, spans):
    <rect class="requests" x="${bar.x}" y="${size[1] - bar.requests}" width="${bar.width}" height="${bar.requests}"/>
    <rect class="errors" x="${bar.x}" y="${size[1] - bar.errors}" width="${bar.width}" height="${bar.errors}"/>
% endfor
    <line x1="0" y1="${size[1]}" x2="${size[0]}" y2="${size[1]}"/>
  </svg>
  <p><span>${label(spans[0].start)}</span> <span>${label(spans[-1].start)}</span></p>
</div>
</%def>
