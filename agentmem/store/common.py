# ruff: noqa: SIM905 (a list literal of 1,800 words would be 1,800 lines)
"""Words too common to give away what a sentence is about: everyday English, and the small words of its neighbours."""

from __future__ import annotations

COMMON = frozenset(
    """
    aber ability able about above academic academy accepted access according account acquired across acting action
    active activities activity actor actress actually added addition additional administration administrative
    advanced advice after afternoon again against agency agent agora agree agreed agreement ahead ahora airport
    album albums alive allergic allergy alles allow allowed almost alone along alongside alors already alright also
    although altijd always amazing among amount analysis anche ancient animal animals announced annual another
    answer answered answers anti anybody anyone anything anyway apparently appear appearance appearances appeared
    appears applied appointed appreciate approach approximately area areas arms around arrived article artist
    artists arts asked asking assembly assigned assist assistant associated association attempt attended attention
    auch aujourd aussi author authority available avec avenue average avoid avoids avoir award awarded awards away
    awesome back ball band bank base based basic basically basis beach beat beaucoup beautiful became because become
    becomes becoming bedankt been before began begin beginning behind being believe believed below beside best
    better between beyond bill birth bitte black block blue board boat body bonjour book books border born both
    bottom bought boys brain branch break breakfast bridge brief bring broadcast broke broken brothers brought brown
    build building buildings built bullet bullets burger buried business buying call called came camp campaign
    campus candidate cannot capacity capital captain captured card care career carried cars case cases cast casual
    caught cause caused center central centre century certain certainly cette chair chairman challenge champion
    champions chance change changed changes channel chapter character characters charge chart chat cheap check
    checking cheers chief child children choice ciao cities city civil claimed class clear clearly close closed
    closer club clubs coach coast code coding cold collection college color combined come comedy comes comfortable
    coming command commander comme commercial commission committee common commonly community como companies company
    compared competed competition complete completed completely complex composed computer concept concert concise
    condition conditions conducted conference connected considered consists constructed construction contact
    contains contemporary content continue continued contract control conversation conversations cook cooked cooking
    corner corporation corps cost could couldn council count countries country county couple course court cover
    covered create created creek crew critical cross cuando cultural culture current currently daily damage danke
    dans dark dass data date days deal death decide decided decision declared dedicated deep defeat defeated defense
    definitely degli degree delete deleted della delle department deputy described design designed despite destroyed
    detail detailed details developed development deze diagnosed diagnosis didn died diese dieser dieses different
    difficult digital dinner direct directed direction directly director discovered discuss disease dish dishes
    distance divided division doctor does doesn doing donde done door double down drama draw drew drink drinks drive
    driver dropped drums during each earlier early earned earth easily eastern easy eating economic edge edition
    editor education effect effects effort efforts eight einen einer eines either electric elements else email
    emails empty ended enemy energy engine engineer engineering english enjoy enjoyed enjoying enjoys enough entered
    entertainment entire environment episode episodes equipment erase erased escape especially essere esta
    established estate este estos está están etwas even evening event events eventually ever every everybody
    everyday everyone everything evidence exactly example examples except exchange excited executive expected
    experience explain explanation explanations expression extended eyes face facilities fact failed fair faire fait
    fall families family famous fare farm fast favor favorite favourite fazer fear feature featured features
    featuring federal feel feeling feet fell fellow felt female females festival field fifth fight fighting figure
    file files filled film films final finally financial find fine fingers finish finished fire firm first five
    flight floor flying focus follow followed following follows food foods foot force forced forces foreign forest
    forget forgets forgot forgotten form formal format formation formed former formerly forms fort forward fought
    found foundation founded founder four fourth free freedom fresh friend friends from front full fully fun
    function further future gallery game games garden gave general generally gerne gestern gets getting gift gifts
    girl girls give given gives giving glad glass global goal goals goes going gold golden gone gonna good got gotta
    government graag gracias grade graduated grand grant gray grazie great greater green grew ground group groups
    growing growth guess guest gusta habe haben habit hacer hadn hair half hall hand hands happen happened happens
    happy hard hate hated hates have haven having head headed headquarters health healthy hear heard heart heat
    heavy hebben heeft held hell hello help helped helpful helping helps here herself heute high higher highest
    highly highway hill himself historic historical history hola hold holding holiday home honor hope hoping host
    hotel hour hours house households houses housing however huge human hundred hurt idea ideas illness image
    imagine immediately immer important include included includes including income increase increased independent
    individual individuals industrial industry influence information initial initially inside instead institute
    intended interest interested interesting international into introduced involved iron island isso issue issued
    issues itself jamais join joined joint journal judge junior just justice keep keeping keeps kept kids kilometres
    kind kitchen knew know knowledge known knows kunnen können könnte label lack lady lake land language languages
    large larger largest last late lately later latter laughed launched lead leader leaders leadership leading
    leaned learning least leave leaves leaving left legal legs length lengthy less letter letters leur level levels
    library lies life lifted light like liked likely likes liking limited line lines link list listed lists
    literature little live lived lives living local located location long longer look looked looking looks losing
    loss lost lots love loved lovely loves lower lunch maar machen machine made magazine magic mail main mainly mais
    major majority make makes making male males managed management manager many mark market mass master match
    matches material matter maybe meal meals mean meaning means meant media median medical medicine meet meeting
    meine meinen meiner mejor member members memorial memory mention mentioned mentioning merci message messages
    metal method metres meus middle might mile miles million mind mine minha ministry minor minute minutes miss
    mission mixed model modern molto moment money month monthly months more morgen morning mornings most mostly
    mount mountain mountains mouth move moved movement movie movies moving much mucho muito multiple museum music
    musical must myself möchte name named names nation nations native natural nature near nearby nearly necessary
    neck need needed needs nella network never news newspaper next nice nicht nichts niet night nights nine nobody
    noch none normal northern notable note noted notes nothing notice nous novel number numbers numerous nunca não
    obrigado occurred ocean offer offered offers office officer officers official officially often okay older omdat
    once ones online only onto open opened opening operated operating operation operations option options order
    ordered organization organized original originally other others ours ourselves outside over overall owned owner
    page paid painting pair paper para paragraph paragraphs parce parents park part participated particular
    particularly parts party pass passed past path peace people percent perché perfect performance performed perhaps
    period pero person personal peut phone photo physical pick picked picture piece pieces place placed places plain
    plan planned planning plans plant platform play played player players playing plays please plus point pointed
    points police policy polite political politician poor popular population porque port position positive possible
    post potential pour power powerful practice prefer preference preferences preferred preferring prefers presence
    present presented president press pressure pretty previous previously price primarily primary principal prior
    private prize probably problem problems process produce produced producer product production products
    professional professor program programs project projects prominent promoted property proposed protect protection
    provide provided provides public published puedo pull pulled purchased purpose pushed quality quando quello
    quero questa question questions questo quick quickly quiero quite race races racing radio raised range rate
    rather reach reached read reading ready real realized really reason received recent recently recipe recipes
    recognized recommend recommendation recommendations record recorded recording records referred refused region
    regional regular related relationship release released remain remained remaining remains remember remembered
    remembers remind reminder remove removed renamed replaced replied reply report reported represented republic
    request required research reserve residents respond response responsible rest restaurant result results retired
    return returned returning revealed review rich right rights ring rise risk river road rock role room rose round
    route royal rule rules running runs rural safe safety said same save saying says scale scene schon school
    schools science sciences scientific score scored screen search seasons seat second secondary seconds secretary
    section security seeing seem seemed seems seen selected self semi sempre senior sense sent sentence sentences
    separate series serious serve served service services serving settled settlement seven several share shared ship
    ships shirt shook shop shopping short shorter shortly should shoulder show showed shown shows shut side sides
    siempre sign signed significant silver similar simple simply since sind singer single singles site sitting
    situation size sleep slightly slow slowly small smaller smile smiled snack social society soft software sold
    solo some somebody somehow someone something sometimes somewhat song songs sono sons sont soon sorry sort soul
    sound sounds source southern space speak speaking special specific speed spend spent split spoke sports spot
    spread spring square stadium staff stage stand standard standing star stars start started starting state stated
    states station stations status stay steel step stepped steps still stone stood stop stopped store stored stories
    storm story straight street strength strong structure student students studied studies studio study stuff style
    subject subsequently success successful such suddenly suggest suggested suggestion suggestions suis summary
    summer super support supported supposed sure surface surrounding sweet system systems table take taken takes
    taking talk talking también também task tasks taste tasty taught teacher teams tears technical technology
    television tell telling tells tengo tenho term terms territory test text than thank thanks that thats their them
    themselves then theory there therefore these they thing things think thinking third this those though thought
    three through throughout thus time times tips title today todo todos together told tomorrow tone tonight took
    tool tools topic total touch toujours tour tous tout toute toward towards tower town track tracks trade
    traditional traffic train training transferred transport travel traveling treatment tree trees trial tried tries
    trip trips trouble true trust truth trying très turn turned turning twenty twice type types typically unable
    under understand understood union unit units university unter until update updated upon upper urban used useful
    user users uses using usually vacation valley value variety various version very vice victory video vielleicht
    view village visit vocals você voice volume voor vorrei voudrais vous wait waiting walk walked walking wall
    walls want wanted wanting wants warm warum wasn watch watched watching water ways wearing weather website week
    weekend weekly weeks weight welche well went werden were western what whatever when whenever where whether which
    while white whole whom whose wide wieder wild will willen wind window windows wing winner winning winter
    wirklich wish with within without woman women wonder wonderful wondering wood word words wordt work worked
    workers working works world worried worry would wouldn write writer writing written wrong wrote wurde würde yeah
    year years yellow yesterday young younger your yours yourself youth zijn être über
    """.split()
)
